// RequestBlock: everything one poll brought in, alive until each of its records has an outcome.
//
// Owns the record bytes, the decoded requests, the unescaped strings and the input rows; requests
// and rows borrow from it, so decoding copies nothing but numbers. Executors finish rows of a block
// in any order and from any thread; whoever releases the last one returns the block to its pool
// with its memory. One slow row therefore holds the bytes of one poll, never more.
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
};

struct RequestBlock {
  RecordBatch batch;
  StringScratch strings;
  Slab inputs;
  std::vector<RequestRow> rows;  // rows[i] belongs to batch.records[i]. Sized before use.
  MonoTime polled_at;
  WallMillis polled_wall = 0;
  std::atomic<std::size_t> open_rows{0};
};

// Thread-safe; must outlive every block it gave out.
class RequestBlockPool {
 public:
  RequestBlock* Take();
  // `count` rows of `block` have their outcome.
  void Release(RequestBlock* block, std::size_t count);
  // Blocks that exist, in use or free.
  std::size_t blocks() const;

 private:
  mutable std::mutex mutex_;
  std::vector<std::unique_ptr<RequestBlock>> all_;
  std::vector<RequestBlock*> free_;
};

}  // namespace millrace
