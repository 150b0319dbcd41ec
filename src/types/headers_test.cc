#include "types/headers.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace millrace {
namespace {

std::vector<std::string> Names(HeadersView view) {
  std::vector<std::string> names;
  for (const Header& header : view) names.emplace_back(header.name);
  return names;
}

TEST(HeadersTest, ReadsBackWhatWasAppended) {
  ByteBuffer block;
  AppendHeader("a", "1", block);
  AppendHeader("", "", block);
  AppendNullHeader("n", block);
  const std::string large(70'000, 'v');
  AppendHeader("large", large, block);
  const HeadersView view(block.view());
  EXPECT_TRUE(view.Valid());
  EXPECT_EQ(Names(view), (std::vector<std::string>{"a", "", "n", "large"}));
  EXPECT_EQ(view.Find("a"), "1");
  EXPECT_EQ(view.Find(""), "");
  EXPECT_EQ(view.Find("n"), std::nullopt);
  EXPECT_EQ(view.Find("large"), large);
  EXPECT_EQ(view.Find("b"), std::nullopt);
}

TEST(HeadersTest, LastOfEqualNamesWins) {
  ByteBuffer block;
  AppendHeader("a", "1", block);
  AppendHeader("a", "2", block);
  EXPECT_EQ(HeadersView(block.view()).Find("a"), "2");
  AppendNullHeader("a", block);
  EXPECT_EQ(HeadersView(block.view()).Find("a"), std::nullopt);
}

TEST(HeadersTest, EmptyBlockIsValid) {
  EXPECT_TRUE(HeadersView().Valid());
  EXPECT_TRUE(HeadersView().empty());
  EXPECT_TRUE(Names(HeadersView()).empty());
}

TEST(HeadersTest, DamagedBlockEndsAtTheDamage) {
  ByteBuffer block;
  AppendHeader("first", "1", block);
  const std::size_t whole = block.size();
  AppendHeader("second", "2", block);
  for (std::size_t size = whole + 1; size < block.size(); ++size) {
    const HeadersView cut(block.view(0, size));
    EXPECT_FALSE(cut.Valid()) << size;
    EXPECT_EQ(Names(cut), std::vector<std::string>{"first"}) << size;
  }
  for (std::size_t at = 0; at < block.size(); ++at) {
    for (const char byte : {'\0', '\x7F', '\xFF'}) {
      std::string damaged(block.view());
      damaged[at] = byte;
      for (const Header& header : HeadersView(damaged)) {
        EXPECT_LE(header.name.size() + header.value.size(), damaged.size());
      }
    }
  }
}

}  // namespace
}  // namespace millrace
