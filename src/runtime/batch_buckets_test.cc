#include "runtime/batch_buckets.h"

#include <gtest/gtest.h>

namespace millrace {
namespace {

using Buckets = std::vector<std::size_t>;

TEST(BatchBuckets, DoubleUpTo32ThenStepBy16) {
  EXPECT_EQ(BatchBuckets(96), (Buckets{1, 2, 4, 8, 16, 32, 48, 64, 80, 96}));
}

TEST(BatchBuckets, TheLargestBatchIsAlwaysABucket) {
  EXPECT_EQ(BatchBuckets(1), Buckets{1});
  EXPECT_EQ(BatchBuckets(3), (Buckets{1, 2, 3}));
  EXPECT_EQ(BatchBuckets(33), (Buckets{1, 2, 4, 8, 16, 32, 33}));
  EXPECT_EQ(BatchBuckets(64).back(), 64U);
  for (std::size_t max = 1; max <= 200; ++max) EXPECT_EQ(BatchBuckets(max).back(), max);
}

TEST(BatchBuckets, TheSmallestThatHoldsTheRowsIsTaken) {
  for (const std::size_t max : {1U, 5U, 64U, 100U}) {
    const Buckets buckets = BatchBuckets(max);
    for (std::size_t rows = 1; rows <= max; ++rows) {
      const std::size_t i = BucketIndex(buckets, rows);
      EXPECT_GE(buckets[i], rows);
      if (i > 0) {
        EXPECT_LT(buckets[i - 1], rows);
      }
    }
  }
}

}  // namespace
}  // namespace millrace
