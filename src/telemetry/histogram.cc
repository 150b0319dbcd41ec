#include "telemetry/histogram.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "base/check.h"

namespace millrace {

HistogramSnapshot::HistogramSnapshot(std::vector<std::uint64_t> counts, double sum)
    : counts_(std::move(counts)),
      count_(std::accumulate(counts_.begin(), counts_.end(), std::uint64_t{0})),
      sum_(sum) {
  MILLRACE_CHECK(counts_.size() == kHistogramBuckets);
}

double HistogramSnapshot::Quantile(double q) const {
  if (count_ == 0) return 0;
  const double exact_rank = std::ceil(std::clamp(q, 0.0, 1.0) * static_cast<double>(count_));
  const auto rank = std::clamp<std::uint64_t>(static_cast<std::uint64_t>(exact_rank), 1, count_);
  std::uint64_t before = 0;
  for (std::size_t bucket = 0; bucket < kHistogramBuckets; ++bucket) {
    const std::uint64_t here = counts_[bucket];
    if (before + here >= rank) {
      const auto lower = static_cast<double>(HistogramBucketLower(bucket));
      const auto upper = static_cast<double>(HistogramBucketUpper(bucket));
      // A bucket of one value has nothing to interpolate.
      if (upper - lower <= 1) return upper;
      const double share = static_cast<double>(rank - before) / static_cast<double>(here);
      return lower + (upper - lower) * share;
    }
    before += here;
  }
  return static_cast<double>(HistogramBucketUpper(kHistogramBuckets - 1));
}

std::vector<std::uint64_t> HistogramSnapshot::CountsAtMost(std::span<const double> bounds) const {
  std::vector<std::uint64_t> result;
  result.reserve(bounds.size());
  std::size_t bucket = 0;
  std::uint64_t before = 0;  // Observations in the buckets below `bucket`.
  for (const double bound : bounds) {
    if (!(bound >= 0)) {
      result.push_back(0);
      continue;
    }
    if (bound >= 0x1p64) {
      result.push_back(count_);
      continue;
    }
    const std::size_t at = HistogramBucket(static_cast<std::uint64_t>(bound));
    for (; bucket < at; ++bucket) before += counts_[bucket];
    const auto lower = static_cast<double>(HistogramBucketLower(at));
    const auto upper = static_cast<double>(HistogramBucketUpper(at));
    const double share = upper - lower <= 1 ? 1 : std::min(1.0, (bound - lower) / (upper - lower));
    const double inside = static_cast<double>(counts_[at]) * share;
    result.push_back(before + static_cast<std::uint64_t>(inside));
  }
  return result;
}

void HistogramSnapshot::Merge(const HistogramSnapshot& other) {
  for (std::size_t i = 0; i < kHistogramBuckets; ++i) counts_[i] += other.counts_[i];
  count_ += other.count_;
  sum_ += other.sum_;
}

void HistogramSnapshot::Subtract(const HistogramSnapshot& earlier) {
  for (std::size_t i = 0; i < kHistogramBuckets; ++i) {
    MILLRACE_DCHECK(counts_[i] >= earlier.counts_[i]);
    counts_[i] -= earlier.counts_[i];
  }
  count_ -= earlier.count_;
  sum_ -= earlier.sum_;
}

}  // namespace millrace
