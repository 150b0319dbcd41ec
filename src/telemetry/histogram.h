// HistogramSnapshot: counts of a distribution at one moment, and the buckets they stand for.
//
// Buckets are log-linear over all of uint64: 16 per power of two, so a bucket is at most 1/16 of
// its lower end wide and any quantile is known to 6.25 %. A bucket holds the values (lower, upper];
// zero has its own, values up to 32 and the powers of two are kept exactly. A snapshot is a plain
// value: copy it, add it to another, subtract an earlier one of the same histogram to look at the
// time between them. Values are in the unit observed, usually nanoseconds.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace millrace {

inline constexpr unsigned kHistogramSubBucketBits = 4;
// Zero; 16 buckets of width one; 16 for each of the 60 higher powers of two.
inline constexpr std::size_t kHistogramBuckets = 1 + 16 * 61;

constexpr std::size_t HistogramBucket(std::uint64_t value) {
  if (value == 0) return 0;
  const std::uint64_t below = value - 1;
  if (below < 16) return static_cast<std::size_t>(below) + 1;
  const auto shift = static_cast<unsigned>(std::bit_width(below)) - 1 - kHistogramSubBucketBits;
  // The leading bit is counted by `16 * shift`, the four after it choose the sub-bucket.
  return 1 + 16 * static_cast<std::size_t>(shift) + static_cast<std::size_t>(below >> shift);
}

// The largest value in the bucket. REQUIRES: bucket < kHistogramBuckets.
constexpr std::uint64_t HistogramBucketUpper(std::size_t bucket) {
  if (bucket <= 16) return bucket;
  const std::size_t shift = (bucket - 1) / 16 - 1;
  const std::uint64_t sub = (bucket - 1) % 16 + 16;
  const std::uint64_t upper = (sub + 1) << shift;
  return upper != 0 ? upper : ~std::uint64_t{0};  // Only the last bucket's end overflows.
}
// The bucket holds values above this one (zero for the first two).
constexpr std::uint64_t HistogramBucketLower(std::size_t bucket) {
  return bucket == 0 ? 0 : HistogramBucketUpper(bucket - 1);
}

class HistogramSnapshot {
 public:
  HistogramSnapshot() : counts_(kHistogramBuckets, 0) {}
  HistogramSnapshot(std::vector<std::uint64_t> counts, double sum);

  std::uint64_t count() const { return count_; }
  double sum() const { return sum_; }
  double Mean() const { return count_ == 0 ? 0 : sum_ / static_cast<double>(count_); }
  // The value that a share `q` of the observations does not exceed, interpolated in its bucket; 0
  // when there are none. REQUIRES: 0 <= q <= 1.
  double Quantile(double q) const;
  // For each bound, how many observations are at most that. Exact where a bucket ends (see above),
  // else interpolated in the bucket; never decreases with the bound or with time. REQUIRES:
  // `bounds` ascend.
  std::vector<std::uint64_t> CountsAtMost(std::span<const double> bounds) const;

  void Merge(const HistogramSnapshot& other);
  // REQUIRES: `earlier` is an earlier snapshot of the same histogram (or merge of histograms).
  void Subtract(const HistogramSnapshot& earlier);

  const std::vector<std::uint64_t>& counts() const { return counts_; }

 private:
  std::vector<std::uint64_t> counts_;
  std::uint64_t count_ = 0;
  double sum_ = 0;
};

}  // namespace millrace
