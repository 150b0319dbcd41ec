#include "base/byte_buffer.h"

#include <gtest/gtest.h>

#include <string>

namespace millrace {
namespace {

TEST(ByteBufferTest, KeepsItsContentWhenItGrows) {
  ByteBuffer buffer;
  std::string expected;
  for (int i = 0; i < 20'000; ++i) {
    const std::string piece = std::to_string(i);
    buffer.Append(piece);
    buffer.Append(',');
    expected += piece + ',';
  }
  EXPECT_EQ(buffer.view(), expected);
  EXPECT_EQ(buffer.view(2, 3), expected.substr(2, 3));
}

TEST(ByteBufferTest, HasReadablePaddingBehindItsCapacity) {
  ByteBuffer buffer;
  char* at = buffer.Claim(5000);
  std::memset(at, 'x', buffer.capacity());
  buffer.Commit(buffer.capacity());
  // Under a sanitizer this read fails where the padding is missing.
  int sum = 0;
  for (std::size_t i = 0; i < kReadablePadding; ++i) sum += buffer.data()[buffer.size() + i];
  EXPECT_EQ(sum, 0);
}

TEST(ByteBufferTest, TakesOnlyWhatIsCommitted) {
  ByteBuffer buffer;
  buffer.Append("ab");
  char* at = buffer.Claim(100);
  at[0] = 'c';
  EXPECT_EQ(buffer.view(), "ab");
  buffer.CommitTo(at + 1);
  EXPECT_EQ(buffer.view(), "abc");
  buffer.Append(std::string_view());
  EXPECT_EQ(buffer.size(), 3U);
}

TEST(ByteBufferTest, ClearKeepsItsMemoryAndShrinkBoundsIt) {
  ByteBuffer buffer;
  buffer.Append(std::string(100'000, 'x'));
  const std::size_t capacity = buffer.capacity();
  const char* data = buffer.data();
  buffer.Clear();
  EXPECT_EQ(buffer.size(), 0U);
  EXPECT_EQ(buffer.Claim(100'000), data);
  buffer.ShrinkTo(capacity);
  EXPECT_EQ(buffer.capacity(), capacity);
  buffer.ShrinkTo(capacity - 1);
  EXPECT_EQ(buffer.capacity(), 0U);
  buffer.Append("again");
  EXPECT_EQ(buffer.view(), "again");
}

}  // namespace
}  // namespace millrace
