// Outcome: one input record's answer, encoded and waiting to be committed.
//
// Outcomes are made many at once, by an executor for a finished batch or by the intake for records
// it could not decode, in an OutcomeChunk that owns their bytes. A chunk lives until the last of
// its outcomes is committed or dropped and then goes back to the pool with its memory.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "base/clock.h"
#include "base/strong.h"
#include "types/record.h"

namespace millrace {

struct OutcomeChunk;

struct Outcome {
  OutputRecord record;
  OutcomeChunk* owner = nullptr;
  WallMillis input_timestamp = 0;  // Of the request's record, for end-to-end time.
  ModelSlot model{-1};             // -1: never got as far as a model.
  PartitionSlot slot;
  Epoch epoch;
  std::uint64_t seq = 0;  // In its partition's OffsetTracker.
};

struct OutcomeChunk : OutputChunk {
  std::vector<Outcome> outcomes;  // Sized before encoding: addresses stay.
  std::size_t live = 0;           // Outcomes not yet committed or dropped; the ledger counts.
};

// Recycles chunks. Thread-safe; taken once per batch.
class OutcomeChunkPool {
 public:
  // An empty chunk.
  std::unique_ptr<OutcomeChunk> Take() {
    const std::lock_guard lock(mutex_);
    if (free_.empty()) return std::make_unique<OutcomeChunk>();
    std::unique_ptr<OutcomeChunk> chunk = std::move(free_.back());
    free_.pop_back();
    return chunk;
  }
  void Give(std::unique_ptr<OutcomeChunk> chunk) {
    chunk->bytes.ShrinkTo(kMaxKeptBytes);
    chunk->outcomes.clear();
    chunk->live = 0;
    const std::lock_guard lock(mutex_);
    if (free_.size() < kMaxKeptChunks) free_.push_back(std::move(chunk));
  }

 private:
  // 512 chunks of at most 128 KiB: what units of 16,384 records in batches of 64 turn over, with
  // room for the next one.
  static constexpr std::size_t kMaxKeptChunks = 512;
  static constexpr std::size_t kMaxKeptBytes = 128 << 10;

  std::mutex mutex_;
  std::vector<std::unique_ptr<OutcomeChunk>> free_;
};

}  // namespace millrace
