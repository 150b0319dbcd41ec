// MetricShard: one thread's private cells, the storage under Counter and Histogram.
//
// A slot is a number; every thread has its own 64-bit cell for it, which only that thread writes
// (plain add: a relaxed load and a relaxed store) and which a scrape reads and sums over threads.
// So an update takes no lock, no locked instruction and shares no cache line with another thread.
// Cells are made in chunks at a thread's first touch of one and never given back; a thread that
// ends leaves its shard, sums included, to the next thread that starts. Shards are process-wide and
// live until the process ends. Internal to telemetry: use metrics.h.
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace millrace {

inline constexpr std::size_t kMetricSlotsPerChunk = 64;
// Bounds the slots of the process: 8 Mi, that is 8,192 histograms or 8 Mi counters. The directory
// that this sizes is 1 MiB of address space per thread, of which only the touched pages are memory.
inline constexpr std::size_t kMetricChunks = std::size_t{1} << 17;

using MetricSlot = std::uint32_t;

struct alignas(64) MetricChunk {
  std::atomic<std::uint64_t> cells[kMetricSlotsPerChunk] = {};
};

class MetricShard {
 public:
  MetricShard();
  MetricShard(const MetricShard&) = delete;
  MetricShard& operator=(const MetricShard&) = delete;

  // The calling thread's shard.
  static MetricShard& Current() {
    MetricShard* shard = current_;
    return shard != nullptr ? *shard : Adopt();
  }

  // The owning thread's cell for `slot`. REQUIRES: called by the owning thread.
  std::atomic<std::uint64_t>& Cell(MetricSlot slot) {
    MetricChunk* chunk = chunks_[slot / kMetricSlotsPerChunk].load(std::memory_order_relaxed);
    if (chunk == nullptr) [[unlikely]]
      chunk = AddChunk(slot / kMetricSlotsPerChunk);
    return chunk->cells[slot % kMetricSlotsPerChunk];
  }

  // The chunk or null. Any thread.
  const MetricChunk* ChunkAt(std::size_t index) const {
    return chunks_[index].load(std::memory_order_acquire);
  }

 private:
  friend class MetricShards;
  static MetricShard& Adopt();
  MetricChunk* AddChunk(std::size_t index);

  static thread_local constinit MetricShard* current_;

  std::atomic<MetricChunk*>* chunks_;
};

// REQUIRES: `cell` belongs to the calling thread's shard.
inline void AddToCell(std::atomic<std::uint64_t>& cell, std::uint64_t by) {
  cell.store(cell.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
}
// The same for a cell that holds a double.
inline void AddToRealCell(std::atomic<std::uint64_t>& cell, double by) {
  const double sum = std::bit_cast<double>(cell.load(std::memory_order_relaxed)) + by;
  cell.store(std::bit_cast<std::uint64_t>(sum), std::memory_order_relaxed);
}

// Sums over all shards; any thread.
std::uint64_t SumSlot(MetricSlot slot);
double SumRealSlot(MetricSlot slot);
// Adds the cells of slots first, first + 1, … to `sums`. REQUIRES: first % 64 == 0.
void SumSlots(MetricSlot first, std::size_t count, std::uint64_t* sums);

// `count` consecutive slots, all zero; the first is a multiple of 64 when `count` is. False when
// kMetricChunks is used up. REQUIRES: count is 1 or a multiple of 64.
bool AllocateSlots(std::size_t count, MetricSlot* first);
// Zeroes the slots and gives them back. REQUIRES: no thread updates them any more.
void ReleaseSlots(MetricSlot first, std::size_t count);

}  // namespace millrace
