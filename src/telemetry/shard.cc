#include "telemetry/shard.h"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <mutex>
#include <vector>

#include "base/check.h"

namespace millrace {

// All shards and the free slots. Never destroyed, because threads may still count while the process
// ends.
class MetricShards {
 public:
  static MetricShards& Instance() {
    static auto* const instance = new MetricShards;
    return *instance;
  }

  MetricShard* Take() {
    const std::scoped_lock lock(mutex_);
    if (!idle_.empty()) {
      MetricShard* shard = idle_.back();
      idle_.pop_back();
      return shard;
    }
    all_.push_back(new MetricShard);
    return all_.back();
  }

  void GiveBack(MetricShard* shard) {
    const std::scoped_lock lock(mutex_);
    idle_.push_back(shard);
  }

  template <class F>
  void ForEachChunk(std::size_t index, F f) {
    const std::scoped_lock lock(mutex_);
    for (const MetricShard* shard : all_) {
      if (const MetricChunk* chunk = shard->ChunkAt(index)) f(*chunk);
    }
  }

  bool Allocate(std::size_t count, MetricSlot* first) {
    const std::scoped_lock lock(mutex_);
    if (std::vector<MetricSlot>& free = free_[count]; !free.empty()) {
      *first = free.back();
      free.pop_back();
      return true;
    }
    if (count == 1) {
      if (single_next_ == single_end_) {
        if (next_chunk_ == kMetricChunks) return false;
        single_next_ = next_chunk_++ * kMetricSlotsPerChunk;
        single_end_ = single_next_ + kMetricSlotsPerChunk;
      }
      *first = static_cast<MetricSlot>(single_next_++);
      return true;
    }
    const std::size_t chunks = count / kMetricSlotsPerChunk;
    if (kMetricChunks - next_chunk_ < chunks) return false;
    *first = static_cast<MetricSlot>(next_chunk_ * kMetricSlotsPerChunk);
    next_chunk_ += chunks;
    return true;
  }

  void Release(MetricSlot first, std::size_t count) {
    const std::scoped_lock lock(mutex_);
    for (const MetricShard* shard : all_) {
      for (std::size_t slot = first; slot < first + count; ++slot) {
        MetricChunk* chunk =
            shard->chunks_[slot / kMetricSlotsPerChunk].load(std::memory_order_acquire);
        if (chunk == nullptr) continue;
        chunk->cells[slot % kMetricSlotsPerChunk].store(0, std::memory_order_relaxed);
      }
    }
    free_[count].push_back(first);
  }

 private:
  std::mutex mutex_;
  std::vector<MetricShard*> all_;
  std::vector<MetricShard*> idle_;
  std::map<std::size_t, std::vector<MetricSlot>> free_;  // By size of the run.
  std::size_t next_chunk_ = 0;
  std::size_t single_next_ = 0;
  std::size_t single_end_ = 0;
};

namespace {

// The destructor runs when the thread ends. An update after that adopts a shard that stays with no
// thread: memory only, its sums still count.
struct ShardReturner {
  MetricShard* shard = nullptr;
  MetricShard** current = nullptr;
  ~ShardReturner();
};

thread_local constinit bool thread_has_ended = false;

ShardReturner::~ShardReturner() {
  thread_has_ended = true;
  if (shard == nullptr) return;
  *current = nullptr;
  MetricShards::Instance().GiveBack(shard);
}

}  // namespace

thread_local constinit MetricShard* MetricShard::current_ = nullptr;

MetricShard::MetricShard()
    // calloc, so that untouched pages of the directory stay unmapped; all-zero bytes are null.
    : chunks_(static_cast<std::atomic<MetricChunk*>*>(
          std::calloc(kMetricChunks, sizeof(std::atomic<MetricChunk*>)))) {
  MILLRACE_CHECK(chunks_ != nullptr);
}

MetricShard& MetricShard::Adopt() {
  current_ = MetricShards::Instance().Take();
  if (!thread_has_ended) {
    static thread_local ShardReturner returner;
    returner.shard = current_;
    returner.current = &current_;
  }
  return *current_;
}

MetricChunk* MetricShard::AddChunk(std::size_t index) {
  MILLRACE_CHECK(index < kMetricChunks);
  auto* chunk = new MetricChunk;
  chunks_[index].store(chunk, std::memory_order_release);
  return chunk;
}

std::uint64_t SumSlot(MetricSlot slot) {
  std::uint64_t sum = 0;
  MetricShards::Instance().ForEachChunk(slot / kMetricSlotsPerChunk, [&](const MetricChunk& chunk) {
    sum += chunk.cells[slot % kMetricSlotsPerChunk].load(std::memory_order_relaxed);
  });
  return sum;
}

double SumRealSlot(MetricSlot slot) {
  double sum = 0;
  MetricShards::Instance().ForEachChunk(slot / kMetricSlotsPerChunk, [&](const MetricChunk& chunk) {
    sum += std::bit_cast<double>(
        chunk.cells[slot % kMetricSlotsPerChunk].load(std::memory_order_relaxed));
  });
  return sum;
}

void SumSlots(MetricSlot first, std::size_t count, std::uint64_t* sums) {
  for (std::size_t done = 0; done < count; done += kMetricSlotsPerChunk) {
    const std::size_t n = std::min(kMetricSlotsPerChunk, count - done);
    MetricShards::Instance().ForEachChunk(
        (first + done) / kMetricSlotsPerChunk, [&](const MetricChunk& chunk) {
          for (std::size_t i = 0; i < n; ++i) {
            sums[done + i] += chunk.cells[i].load(std::memory_order_relaxed);
          }
        });
  }
}

bool AllocateSlots(std::size_t count, MetricSlot* first) {
  MILLRACE_CHECK(count == 1 || count % kMetricSlotsPerChunk == 0);
  return MetricShards::Instance().Allocate(count, first);
}

void ReleaseSlots(MetricSlot first, std::size_t count) {
  MetricShards::Instance().Release(first, count);
}

}  // namespace millrace
