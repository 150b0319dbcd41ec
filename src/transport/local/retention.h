// Retention: removes what a topic does not keep any longer.
//
// A topic with a retention time loses its oldest records once they are older, but never one that
// a group with a position in the partition has still to read; but it waits for no job that copies
// dead letters (kReplayGroupWord). A compacted topic keeps the last
// record of each key, and a tombstone for kTombstoneLife. Offsets are never used again. Works in
// small transactions, so that writers wait a few milliseconds at most. Used by one thread.
// Internal to transport/local.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "transport/local/catalog.h"
#include "transport/local/log_context.h"
#include "transport/local/writer.h"

namespace millrace::local {

class Retention {
 public:
  static constexpr Millis kTombstoneLife{24 * 60 * 60 * 1000};

  // `context` must outlive the object.
  explicit Retention(const LogContext& context) : writer_(context) {}

  // Removes what is too old at `now`; returns how many records. Asks `stop` between transactions
  // and ends early when it says so.
  Result<std::int64_t> RunOnce(WallMillis now, const std::function<bool()>& stop);

 private:
  Status Prune(std::int64_t partition, WallMillis cutoff, const std::function<bool()>& stop,
               std::int64_t* removed);
  Status Compact(std::int64_t partition, WallMillis cutoff, const std::function<bool()>& stop,
                 std::int64_t* removed);
  // The first offset, and the first that stays; equal when none may go. Looks at `most` records.
  Result<std::pair<std::int64_t, std::int64_t>> Expired(std::int64_t partition, WallMillis cutoff,
                                                        int most);

  // Adapts how much a transaction removes to how long the last one held the write lock.
  void Adapt(Nanos held);

  Writer writer_;
  int records_per_transaction_ = 256;
};

}  // namespace millrace::local
