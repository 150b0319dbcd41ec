// Source: where requests come from.
//
// A Source hands out records of many partitions at once and says which partitions are ours. Each
// assignment of a partition opens a new epoch; whoever keeps work of an older epoch must drop it.
// One thread, the intake thread, calls everything but Wake and Lags, which any thread may call.
// A Source never commits: its Committer does.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "base/strong.h"
#include "types/record.h"

namespace millrace {

struct PartitionAssignment {
  PartitionSlot slot;
  Epoch epoch;
  TopicPartition partition;
  Offset position;        // The first offset that will be read: everything below it is committed.
  std::string note = {};  // What was committed beside it (PartitionPosition::note).
};

struct PollLimits {
  std::size_t max_records = 1024;
  std::size_t max_bytes = 8 << 20;  // Of keys, values and headers; one record may exceed it alone.
  Millis max_wait{100};             // How long to wait for a first record; 0 never waits.
};

struct PartitionLag {
  PartitionSlot slot;
  std::int32_t partition = 0;         // Its number in the topic.
  Offset end;                         // One past the last committed record of the partition.
  WallMillis oldest_uncommitted = 0;  // Timestamp of the record at the committed offset; 0 if none.
};

class Source {
 public:
  // Told of partitions coming and going, on the intake thread, from inside Start, Poll and Close.
  class Listener {
   public:
    virtual ~Listener() = default;
    virtual void OnAssigned(std::span<const PartitionAssignment> partitions) = 0;
    // The partitions are still ours until this returns: stop dispatching from them and commit what
    // is done, within the time the transport allows. Never waits for inference.
    virtual void OnRevoked(std::span<const PartitionSlot> partitions) = 0;
    // The partitions are another worker's already: commit nothing, drop their work.
    virtual void OnLost(std::span<const PartitionSlot> partitions) = 0;
    // Nothing was read, but the position moved past offsets that carry no record (control records,
    // compacted ones): `position` may be committed once everything below it is.
    virtual void OnPositionAdvanced(PartitionSlot slot, Offset position) = 0;
  };

  virtual ~Source() = default;

  // Joins the group and starts reading. `listener` must outlive Close.
  virtual Status Start(Listener* listener) = 0;

  // Fills `batch` (cleared first) with up to `limits` records; returns OK with none after max_wait
  // or a Wake. With max_records 0 only serves events. kUnavailable: the log is away, poll again
  // after a pause; nothing was skipped. kFenced: another worker took this one's place, stop.
  // Records of a partition come in offset order, each once per epoch.
  virtual Status Poll(const PollLimits& limits, RecordBatch* batch) = 0;

  // Stops or resumes handing out records of one partition. Prefetched ones are kept. From inside
  // OnAssigned as well: then none was handed out before.
  virtual void HoldDispatch(PartitionSlot slot, bool hold) = 0;

  // Ends a Poll that waits, now or the next one. Any thread.
  virtual void Wake() = 0;

  // End offsets as far as known, for lag. Any thread; may do I/O.
  virtual Result<std::vector<PartitionLag>> Lags() = 0;

  // Leaves the group: revokes what is left (OnRevoked), then reads nothing more.
  virtual Status Close() = 0;
};

}  // namespace millrace
