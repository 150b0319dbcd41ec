#include "runtime/batch_buckets.h"

#include <algorithm>

#include "base/check.h"

namespace millrace {

std::vector<std::size_t> BatchBuckets(std::size_t max_rows) {
  MILLRACE_CHECK(max_rows >= 1);
  constexpr std::size_t kStep = 16;
  constexpr std::size_t kLastPowerOfTwo = 32;
  std::vector<std::size_t> buckets;
  for (std::size_t rows = 1; rows < max_rows;
       rows = rows < kLastPowerOfTwo ? rows * 2 : rows + kStep) {
    buckets.push_back(rows);
  }
  buckets.push_back(max_rows);
  return buckets;
}

std::size_t BucketIndex(const std::vector<std::size_t>& buckets, std::size_t rows) {
  const auto found = std::lower_bound(buckets.begin(), buckets.end(), rows);
  MILLRACE_CHECK(rows >= 1 && found != buckets.end());
  return static_cast<std::size_t>(found - buckets.begin());
}

}  // namespace millrace
