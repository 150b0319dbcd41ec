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
  SeriesSlot model{-1};            // -1: never got as far as a model.
  PartitionSlot slot;
  Epoch epoch;
  std::uint64_t seq = 0;  // In its partition's OffsetTracker.
};

struct OutcomeChunk : OutputChunk {
  std::vector<Outcome> outcomes;  // Sized before encoding: addresses stay.
  // The ledger's: outcomes not yet committed or dropped, and what the chunk holds as long as there
  // is one.
  std::size_t live = 0;
  std::size_t counted = 0;

  // Bytes held, used or not.
  std::size_t memory() const {
    return sizeof(OutcomeChunk) + bytes.capacity() + outcomes.capacity() * sizeof(Outcome);
  }
};

// Recycles chunks. Thread-safe; taken once per batch.
class OutcomeChunkPool {
 public:
  static constexpr std::size_t kDefaultKept = 32 << 20;
  // Free chunks with more than `max_kept_bytes` together are given up.
  explicit OutcomeChunkPool(std::size_t max_kept_bytes = kDefaultKept)
      : max_kept_bytes_(max_kept_bytes) {}

  // An empty chunk.
  std::unique_ptr<OutcomeChunk> Take() {
    const std::lock_guard lock(mutex_);
    if (free_.empty()) return std::make_unique<OutcomeChunk>();
    std::unique_ptr<OutcomeChunk> chunk = std::move(free_.back());
    free_.pop_back();
    kept_ -= chunk->memory();
    return chunk;
  }
  void Give(std::unique_ptr<OutcomeChunk> chunk) {
    chunk->bytes.ShrinkTo(kMaxKeptBytes);
    chunk->outcomes.clear();
    chunk->live = 0;
    const std::size_t bytes = chunk->memory();
    const std::lock_guard lock(mutex_);
    if (free_.size() >= kMaxKeptChunks || kept_ + bytes > max_kept_bytes_) return;
    kept_ += bytes;
    free_.push_back(std::move(chunk));
  }
  std::size_t bytes_kept() const {
    const std::lock_guard lock(mutex_);
    return kept_;
  }

 private:
  // 512 chunks of at most 128 KiB: what units of 16,384 records in batches of 64 turn over, with
  // room for the next one.
  static constexpr std::size_t kMaxKeptChunks = 512;
  static constexpr std::size_t kMaxKeptBytes = 128 << 10;

  const std::size_t max_kept_bytes_;
  mutable std::mutex mutex_;
  std::vector<std::unique_ptr<OutcomeChunk>> free_;
  std::size_t kept_ = 0;  // Memory of the free ones.
};

}  // namespace millrace
