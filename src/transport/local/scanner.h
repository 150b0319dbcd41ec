// Scanner: reads records of many partitions into one batch, waiting for new ones.
//
// What Source and Reader have in common. One thread calls everything but Wake. A poll reads one
// snapshot: which partitions have something is known from one look at their ends, taken only when
// another connection has committed since. Partitions are read in turn, in runs, starting where the
// last poll stopped, so that none starves. Internal to transport/local.
#pragma once

#include <atomic>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "base/status.h"
#include "transport/local/connection.h"
#include "transport/local/log_context.h"
#include "transport/source.h"
#include "types/record.h"

namespace millrace::local {

class Scanner {
 public:
  struct Partition {
    std::int64_t id = 0;        // records_<id>.
    std::int64_t position = 0;  // The next offset to read.
    std::int64_t end = 0;       // As of the last look.
    bool held = false;
    // Set when the position moved past offsets that carry no record; the owner clears it.
    bool skipped = false;
    Statement select;
  };

  static constexpr int kCacheKib = 4096;

  explicit Scanner(const LogContext& context) : context_(context) {}
  Scanner(const Scanner&) = delete;
  Scanner& operator=(const Scanner&) = delete;

  Status Open(int cache_kib = kCacheKib);
  void Close();
  // For the owner's own statements, between polls.
  Connection& connection() { return connection_; }

  // What to read; Record::slot is the index. Replaces what was there.
  void Assign(std::vector<Partition> partitions);
  std::vector<Partition>& partitions() { return partitions_; }
  const std::vector<Partition>& partitions() const { return partitions_; }

  // As Source::Poll. Also returns, with no record, when a partition was `skipped`.
  Status Poll(const PollLimits& limits, RecordBatch* batch);
  void Hold(std::size_t partition, bool hold);
  void Wake();

 private:
  enum class RunEnd { kQuota, kPartitionEnd, kBytes, kError };

  Status ReadOnce(const PollLimits& limits, RecordBatch* batch);
  Status LookAtEnds();
  RunEnd ReadRun(std::size_t index, std::size_t quota, std::size_t max_bytes, RecordBatch* batch);
  void ReadRounds(const PollLimits& limits, RecordBatch* batch);
  bool HasBacklog() const;
  bool AnySkipped() const;

  const LogContext& context_;
  Connection connection_;
  Statement begin_, end_, data_version_, ends_;

  std::vector<Partition> partitions_;
  std::unordered_map<std::int64_t, std::size_t> index_of_id_;
  std::vector<std::size_t> active_;  // Scratch of ReadRounds.
  std::size_t turn_ = 0;             // The partition whose turn it is.
  std::int64_t seen_version_ = -1;   // PRAGMA data_version at the last look.
  std::uint32_t checked_sequence_ = 0;
  MonoTime check_again_{};  // Look then even without a notification.
  int error_ = SQLITE_OK;

  std::atomic<bool> woken_{false};
};

}  // namespace millrace::local
