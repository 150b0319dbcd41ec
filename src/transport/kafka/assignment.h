// Assignment: which partitions of the requests topic are ours, and in which epoch.
//
// The source changes it as the group rebalances; the committer asks it, so that nothing is ever
// committed for a partition that has moved on; lag is told from it. Any thread.
// Internal to transport/kafka.
#pragma once

#include <deque>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "transport/committer.h"
#include "transport/source.h"

namespace millrace::kafka {

class Assignment {
 public:
  // A new epoch of the partition, which is not ours now.
  Epoch Open(PartitionSlot slot);
  void Close(PartitionSlot slot);

  // Those of `positions` whose partition is not ours any more, or ours in a later epoch.
  std::vector<PartitionSlot> NotOurs(std::span<const PartitionPosition> positions) const;

  // For lag: the first record that a poll gave out of a partition, and what was committed.
  void OnHandedOut(PartitionSlot slot, Offset offset, WallMillis timestamp);
  void OnCommitted(std::span<const PartitionPosition> positions);
  // Partitions that are ours; `end` is not known here and stays 0.
  std::vector<PartitionLag> Lags() const;

 private:
  struct Sample {
    Offset offset;
    WallMillis timestamp;
  };
  struct Partition {
    bool ours = false;
    Epoch epoch;
    std::deque<Sample> samples;  // Of what is in flight; one a poll, so bounded by it.
  };

  mutable std::mutex mutex_;
  std::vector<Partition> partitions_;  // Guarded by mutex_; by slot.
};

}  // namespace millrace::kafka
