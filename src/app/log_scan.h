// LogScan: reads chosen partitions from where they begin or end, up to now or for ever.
//
// Without `follow` it ends at what was there when it was made. Reads outside any group and changes
// nothing. One thread; the log must outlive it.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "transport/log.h"

namespace millrace {

class LogScan {
 public:
  struct Wanted {
    std::string topic;
    std::vector<std::int32_t> partitions;  // Empty: all.
    std::optional<Offset> from;            // Else where the partition begins.
    bool from_end = false;
  };

  // Errors: kNotFound (topic), kInvalidArgument (partition).
  static Result<LogScan> Open(Log& log, const std::vector<Wanted>& wanted, bool follow);

  // Fills `batch`; empty when nothing came within a moment. REQUIRES: !done().
  Status Poll(RecordBatch* batch);
  bool done() const;

  // Where the partitions ended when it was made, by number. REQUIRES: it reads one topic.
  std::map<std::int32_t, Offset> Ends() const;

  const std::string& topic(const Record& record) const { return part(record).topic; }
  std::int32_t partition(const Record& record) const { return part(record).partition; }

 private:
  struct Part {
    std::string topic;
    std::int32_t partition = 0;
    Offset next;
    Offset end;
  };

  const Part& part(const Record& record) const { return parts_[record.slot.index()]; }

  std::unique_ptr<Reader> reader_;
  std::vector<Part> parts_;  // By slot.
  bool follow_ = false;
};

// Log::CommittedOffsets, asked again for a few seconds while the log is busy: a cluster is when a
// commit is under way or the group's coordinator moves.
Result<std::map<std::int32_t, Offset>> CommittedPositions(Log& log, const std::string& group,
                                                          const std::string& topic);

// Partition count of `topic`, or kNotFound with what to do.
Result<std::int32_t> PartitionCount(Log& log, const std::string& topic);

}  // namespace millrace
