#include "pipeline/request_block.h"

#include "base/check.h"

namespace millrace {
namespace {

// A block that was made for large polls counts as a whole when it serves a small one, and in time
// every block has served a large one. What was used eight times less than it holds starts anew.
void ShrinkWhenRoomy(RequestBlock* block) {
  constexpr std::size_t kSmall = 128 << 10;
  constexpr std::size_t kRoomy = 8;
  const std::size_t records = block->batch.records.size();
  const std::size_t used =
      block->batch.bytes.size() + records * (sizeof(Record) + sizeof(RequestRow));
  const std::size_t holds = block->memory();
  if (records == 0 || holds <= kSmall || holds < kRoomy * used) return;
  block->batch.bytes = ByteBuffer();
  block->batch.records = {};
  block->rows = {};
  block->strings = StringScratch();
  block->inputs = Slab();
}

}  // namespace

std::size_t RequestBlock::memory() const {
  return sizeof(RequestBlock) + batch.bytes.capacity() + batch.records.capacity() * sizeof(Record) +
         rows.capacity() * sizeof(RequestRow) + strings.capacity() + inputs.capacity();
}

RequestBlock* RequestBlockPool::Take() {
  const std::lock_guard lock(mutex_);
  if (free_.empty()) {
    // The number of blocks is bounded by the records in flight: a block in use has at least one.
    all_.push_back(std::make_unique<RequestBlock>());
    all_.back()->index = all_.size() - 1;
    return all_.back().get();
  }
  RequestBlock* const block = free_.back();
  free_.pop_back();
  kept_ -= block->counted;
  block->counted = 0;
  return block;
}

void RequestBlockPool::Count(RequestBlock* block) {
  MILLRACE_DCHECK(block->counted == 0);
  block->counted = block->memory() + block->outcome_bytes;
  in_use_.fetch_add(block->counted, std::memory_order_relaxed);
}

void RequestBlockPool::Release(RequestBlock* block, std::size_t count) {
  // Acquire-release: the thread that recycles the block sees every other thread done with it.
  const std::size_t before = block->open_rows.fetch_sub(count, std::memory_order_acq_rel);
  MILLRACE_CHECK(before >= count);
  if (before != count) return;
  ShrinkWhenRoomy(block);
  block->batch.Clear();
  block->strings.Clear();
  block->inputs.Clear();
  block->rows.clear();
  block->outcome_bytes = 0;
  in_use_.fetch_sub(block->counted, std::memory_order_relaxed);
  block->counted = block->memory();
  std::unique_ptr<RequestBlock> given_up;  // Freed outside the lock.
  const std::lock_guard lock(mutex_);
  if (kept_ + block->counted <= max_kept_bytes_ || free_.empty()) {
    kept_ += block->counted;
    free_.push_back(block);
    return;
  }
  all_.back()->index = block->index;
  std::swap(all_[block->index], all_.back());
  given_up = std::move(all_.back());
  all_.pop_back();
}

std::size_t RequestBlockPool::bytes_kept() const {
  const std::lock_guard lock(mutex_);
  return kept_;
}

std::size_t RequestBlockPool::blocks() const {
  const std::lock_guard lock(mutex_);
  return all_.size();
}

}  // namespace millrace
