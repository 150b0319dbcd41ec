#include "transport/kafka/assignment.h"

#include "base/check.h"

namespace millrace::kafka {

Epoch Assignment::Open(PartitionSlot slot) {
  const std::lock_guard lock(mutex_);
  if (slot.index() >= partitions_.size()) partitions_.resize(slot.index() + 1);
  Partition& partition = partitions_[slot.index()];
  MILLRACE_CHECK(!partition.ours);
  partition.ours = true;
  partition.epoch = Epoch(partition.epoch.value() + 1);
  partition.samples.clear();
  return partition.epoch;
}

void Assignment::Close(PartitionSlot slot) {
  const std::lock_guard lock(mutex_);
  if (slot.index() >= partitions_.size()) return;
  partitions_[slot.index()].ours = false;
  partitions_[slot.index()].samples.clear();
}

std::vector<PartitionSlot> Assignment::NotOurs(std::span<const PartitionPosition> positions) const {
  const std::lock_guard lock(mutex_);
  std::vector<PartitionSlot> gone;
  for (const PartitionPosition& position : positions) {
    MILLRACE_CHECK(position.slot.index() < partitions_.size());
    const Partition& partition = partitions_[position.slot.index()];
    if (!partition.ours || partition.epoch != position.epoch) gone.push_back(position.slot);
  }
  return gone;
}

void Assignment::OnHandedOut(PartitionSlot slot, Offset offset, WallMillis timestamp) {
  const std::lock_guard lock(mutex_);
  Partition& partition = partitions_.at(slot.index());
  if (partition.ours) partition.samples.push_back({offset, timestamp});
}

void Assignment::OnCommitted(std::span<const PartitionPosition> positions) {
  const std::lock_guard lock(mutex_);
  for (const PartitionPosition& position : positions) {
    Partition& partition = partitions_.at(position.slot.index());
    if (!partition.ours || partition.epoch != position.epoch) continue;
    std::deque<Sample>& samples = partition.samples;
    // The oldest record that is left is at or after the last sample below the position.
    while (samples.size() > 1 && samples[1].offset <= position.next) samples.pop_front();
  }
}

std::vector<PartitionLag> Assignment::Lags() const {
  const std::lock_guard lock(mutex_);
  std::vector<PartitionLag> lags;
  for (std::size_t i = 0; i < partitions_.size(); ++i) {
    const Partition& partition = partitions_[i];
    if (!partition.ours) continue;
    PartitionLag lag;
    lag.slot = PartitionSlot(static_cast<std::int32_t>(i));
    lag.partition = static_cast<std::int32_t>(i);
    if (!partition.samples.empty()) lag.oldest_uncommitted = partition.samples.front().timestamp;
    lags.push_back(lag);
  }
  return lags;
}

}  // namespace millrace::kafka
