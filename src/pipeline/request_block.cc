#include "pipeline/request_block.h"

#include "base/check.h"

namespace millrace {

RequestBlock* RequestBlockPool::Take() {
  const std::lock_guard lock(mutex_);
  if (free_.empty()) {
    // The number of blocks is bounded by the records in flight: a block in use has at least one.
    all_.push_back(std::make_unique<RequestBlock>());
    return all_.back().get();
  }
  RequestBlock* const block = free_.back();
  free_.pop_back();
  return block;
}

void RequestBlockPool::Release(RequestBlock* block, std::size_t count) {
  // Acquire-release: the thread that recycles the block sees every other thread done with it.
  const std::size_t before = block->open_rows.fetch_sub(count, std::memory_order_acq_rel);
  MILLRACE_CHECK(before >= count);
  if (before != count) return;
  block->batch.Clear();
  block->strings.Clear();
  block->inputs.Clear();
  block->rows.clear();
  const std::lock_guard lock(mutex_);
  free_.push_back(block);
}

std::size_t RequestBlockPool::blocks() const {
  const std::lock_guard lock(mutex_);
  return all_.size();
}

}  // namespace millrace
