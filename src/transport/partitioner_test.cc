#include "transport/partitioner.h"

#include <gtest/gtest.h>

namespace millrace {
namespace {

struct Vector {
  std::string_view key;
  std::int32_t hash;
};

// From the Java client's own test of its hash.
constexpr Vector kJavaClient[] = {
    {"21", -973932308},
    {"foobar", -790332482},
    {"a-little-bit-long-string", -985981536},
    {"a-little-bit-longer-string", -1486304829},
    {"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971},
    {"abc", 479470107},
};

TEST(Partitioner, HashesAsTheJavaClientDoes) {
  for (const Vector& vector : kJavaClient) {
    EXPECT_EQ(static_cast<std::int32_t>(Murmur2(vector.key)), vector.hash) << vector.key;
  }
}

TEST(Partitioner, ClearsTheSignBitBeforeTheRemainder) {
  EXPECT_EQ(PartitionForKey("21", 64), (-973932308 & 0x7FFFFFFF) % 64);
  EXPECT_EQ(PartitionForKey("abc", 7), 479470107 % 7);
}

TEST(Partitioner, GivesTheEmptyKeyAPartitionToo) {
  EXPECT_GE(PartitionForKey("", 3), 0);
  EXPECT_LT(PartitionForKey("", 3), 3);
}

}  // namespace
}  // namespace millrace
