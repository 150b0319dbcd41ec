#include "codec/text.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "codec/string_scratch.h"

namespace millrace {
namespace {

std::string Escaped(std::string_view text) {
  std::string out(EscapedBound(text.size()), '\0');
  out.resize(static_cast<std::size_t>(WriteEscaped(text, out.data()) - out.data()));
  return out;
}

TEST(TextTest, EscapesWhatJsonRequiresAndNothingElse) {
  for (int c = 0; c < 0x20; ++c) {
    const std::string text = Escaped(std::string(1, static_cast<char>(c)));
    EXPECT_TRUE(text.size() == 2 || text.size() == 6) << c;
    EXPECT_EQ(text[0], '\\');
  }
  EXPECT_EQ(Escaped("\n\t\r\b\f"), R"(\n\t\r\b\f)");
  EXPECT_EQ(Escaped(std::string_view("\0\x1f", 2)), R"(\u0000\u001f)");
  for (int c = 0x20; c < 0x100; ++c) {
    if (c == '"' || c == '\\') continue;
    // At each place of a word, with the bytes around it that could mislead a word-wise search.
    for (std::size_t at = 0; at < 20; ++at) {
      std::string text(20, '!');
      text[at] = static_cast<char>(c);
      EXPECT_EQ(Escaped(text), text) << c;
    }
  }
  for (std::size_t at = 0; at < 20; ++at) {
    std::string text(20, '#');
    text[at] = '"';
    EXPECT_EQ(Escaped(text), text.substr(0, at) + "\\\"" + text.substr(at + 1));
  }
}

TEST(TextTest, FindsControlCharactersAnywhere) {
  for (std::size_t size = 0; size < 20; ++size) {
    for (const char plain : {' ', '\x7e', '\x80', '\xff'}) {
      EXPECT_FALSE(HasControlCharacter(std::string(size, plain)));
      for (std::size_t at = 0; at < size; ++at) {
        for (const char control : {'\0', '\x1f', '\x7f'}) {
          std::string text(size, plain);
          text[at] = control;
          EXPECT_TRUE(HasControlCharacter(text));
        }
      }
    }
  }
}

TEST(TextTest, FindsTheFirstInvalidByte) {
  constexpr auto kValid = std::string_view::npos;
  for (const std::string_view text :
       {"", "a", "\u00e9\u20ac\U0001F600", "\xEF\xBF\xBF", "\xF4\x8F\xBF\xBF", "\xED\x9F\xBF"}) {
    EXPECT_EQ(FindInvalidUtf8(text), kValid) << text;
  }
  for (const std::string_view bad :
       {"\x80", "\xC0\x80", "\xC1\xBF", "\xC3", "\xE0\x9F\xBF", "\xE2\x82", "\xED\xA0\x80",
        "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF"}) {
    EXPECT_EQ(FindInvalidUtf8(bad), 0U);
    EXPECT_EQ(FindInvalidUtf8("12345678\u00e9" + std::string(bad) + "tail"), 10U);
  }
}

TEST(TextTest, KnowsJsonNumbers) {
  for (const std::string_view good : {"0", "-0", "10", "1.5", "-1.25e+10", "1E5", "0e0", "1e999"}) {
    EXPECT_TRUE(IsJsonNumber(good)) << good;
  }
  for (const std::string_view bad :
       {"", "-", "+1", "01", "1.", ".5", "1e", "1e+", "1 ", "0x1", "1.5.5", "NaN", "--1"}) {
    EXPECT_FALSE(IsJsonNumber(bad)) << bad;
  }
}

TEST(TextTest, KnowsModelNames) {
  for (const std::string& good :
       {std::string("m"), std::string("1.0-rc_2"), std::string(128, 'x')}) {
    EXPECT_TRUE(IsModelName(good)) << good;
    EXPECT_FALSE(CheckModelName("id", good, 256)) << good;
  }
  for (const std::string& bad :
       {std::string(), std::string(".m"), std::string("-m"), std::string("a/b"), std::string("a b"),
        std::string("\xC3\xA9"), std::string(129, 'x')}) {
    EXPECT_FALSE(IsModelName(bad)) << bad;
    EXPECT_EQ(CheckModelName("id", bad, 256)->reason, FailureReason::kInvalidValue);
  }
  EXPECT_EQ(CheckModelName("id", "abc", 2)->reason, FailureReason::kTooLarge);
}

TEST(TextTest, ExcerptsAreShortValidAndOnOneLine) {
  EXPECT_EQ(Excerpt("plain"), "'plain'");
  EXPECT_EQ(Excerpt("a\nb\x7f\xFFz\u0085\u2028"),
            "'a?b?"
            "?z?"
            "?'");
  EXPECT_EQ(Excerpt(std::string(33, 'x')), "'" + std::string(32, 'x') + "...'");
  EXPECT_EQ(Excerpt(std::string(31, 'x') + "\u20ac"), "'" + std::string(31, 'x') + "...'");
}

TEST(StringScratchTest, StringsStayPutUntilCleared) {
  StringScratch scratch;
  std::vector<std::string_view> views;
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < 2000; ++i) {
    texts.push_back(std::string(i % 97, static_cast<char>('a' + i % 26)));
    views.push_back(scratch.Copy(texts.back()));
  }
  views.push_back(scratch.Copy(texts.emplace_back(100'000, 'L')));
  views.push_back(scratch.Copy(texts.emplace_back("after")));
  for (std::size_t i = 0; i < texts.size(); ++i) ASSERT_EQ(views[i], texts[i]);
}

TEST(StringScratchTest, ReusesItsBlocksOnceWarm) {
  StringScratch scratch;
  const char* first = scratch.Allocate(10'000);
  const char* second = scratch.Allocate(10'000);
  scratch.Clear();
  EXPECT_EQ(scratch.Allocate(10'000), first);
  EXPECT_EQ(scratch.Allocate(10'000), second);
}

}  // namespace
}  // namespace millrace
