// Batch buckets: the few row counts that a model is ever run with.
//
// A runtime keeps memory plans and buffers per distinct shape, and some graphs give other bits at
// other shapes; running only bucket sizes bounds the first and steadies the second. The buckets are
// 1, 2, 4, 8, 16, 32, then every multiple of 16, up to the largest batch, which is always a bucket.
// Pure functions; any thread.
#pragma once

#include <cstddef>
#include <vector>

namespace millrace {

// Ascending. REQUIRES: max_rows >= 1.
std::vector<std::size_t> BatchBuckets(std::size_t max_rows);

// Index of the smallest bucket that holds `rows`. REQUIRES: 1 <= rows <= buckets.back().
std::size_t BucketIndex(const std::vector<std::size_t>& buckets, std::size_t rows);

}  // namespace millrace
