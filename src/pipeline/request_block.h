// RequestBlock: everything one poll brought in, alive until each of its records has an outcome.
//
// Owns the record bytes, the decoded requests, the unescaped strings and the input rows; requests
// and rows borrow from it, so decoding copies nothing but numbers. Executors finish rows of a block
// in any order and from any thread; whoever releases the last one returns the block to its pool
// with its memory. One slow row therefore holds the bytes of one poll, never more; the pool counts
// what all blocks in use hold, which is what bounds them (memory_plan.h).
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "base/clock.h"
#include "base/slab.h"
#include "base/strong.h"
#include "codec/string_scratch.h"
#include "scheduler/scheduler.h"
#include "types/record.h"
#include "types/request.h"

namespace millrace {

struct RequestBlock;

inline constexpr ModelSlot kNoModel{-1};

// One request on its way through the worker.
struct RequestRow : QueuedRow {
  RequestBlock* block = nullptr;
  const Record* record = nullptr;
  std::byte* input = nullptr;  // One row of its model's input.
  InferenceRequest request;
  ModelSlot model = kNoModel;
  TenantSlot tenant;
  std::int32_t attempts = 0;   // Runs that failed and may be repeated.
  std::int32_t partition = 0;  // Its number in the requests topic.
  Epoch epoch;
  std::uint64_t seq = 0;
  std::int32_t suspect = -1;  // In the crash journal: it runs alone.
  bool shadowed = false;      // A shadow runs it, too.
};

struct RequestBlock {
  RecordBatch batch;
  StringScratch strings;
  Slab inputs;
  std::vector<RequestRow> rows;  // rows[i] belongs to batch.records[i]. Sized before use.
  MonoTime polled_at;
  WallMillis polled_wall = 0;
  std::atomic<std::size_t> open_rows{0};
  std::size_t outcome_bytes = 0;  // What the rows' outcomes will take, as far as models tell.

  // Bytes held, used or not, without those of the outcomes.
  std::size_t memory() const;

  // The pool's.
  std::size_t counted = 0;
  std::size_t index = 0;
};

// Thread-safe; must outlive every block it gave out.
class RequestBlockPool {
 public:
  static constexpr std::size_t kDefaultKept = 32 << 20;
  // Free blocks with more than `max_kept_bytes` together are given up.
  explicit RequestBlockPool(std::size_t max_kept_bytes = kDefaultKept)
      : max_kept_bytes_(max_kept_bytes) {}

  RequestBlock* Take();
  // The block has been filled: counts its memory, with that of the outcomes to come, as in use
  // until it is released. Before anyone else may release a row of it.
  void Count(RequestBlock* block);
  // `count` rows of `block` have their outcome.
  void Release(RequestBlock* block, std::size_t count);

  // Blocks that exist, in use or free.
  std::size_t blocks() const;
  std::size_t bytes_in_use() const { return in_use_.load(std::memory_order_relaxed); }
  std::size_t bytes_kept() const;

 private:
  const std::size_t max_kept_bytes_;
  std::atomic<std::size_t> in_use_{0};
  mutable std::mutex mutex_;
  // Guarded by mutex_.
  std::vector<std::unique_ptr<RequestBlock>> all_;  // all_[i]->index == i.
  std::vector<RequestBlock*> free_;
  std::size_t kept_ = 0;  // Memory of the free ones.
};

}  // namespace millrace
