// Log: one durable log, whichever it is, as commands see it: topics, producers, readers, offsets.
//
// The worker uses OpenWorker; `send`, `results`, `dlq`, `verify`, `topics` and the gateway use the
// rest. Objects made by a Log must be destroyed before it. Methods of Log may be called from any
// thread; a Producer or a Reader belongs to one thread at a time.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "transport/committer.h"
#include "transport/options.h"
#include "transport/source.h"
#include "types/record.h"

namespace millrace {

// Groups of jobs that copy dead letters are called <worker's group><word><hash>. The local log's
// retention waits for no such group: its job ends, and its positions stay to say what was done.
inline constexpr const char* kReplayGroupWord = ".replay.";
inline constexpr const char* kParkGroupWord = ".park.";

enum class CleanupPolicy : std::uint8_t { kDelete, kCompact };

struct TopicSpec {
  std::string name;
  std::int32_t partitions = 1;
  Millis retention{0};  // 0: for ever. Ignored when compacted.
  CleanupPolicy cleanup = CleanupPolicy::kDelete;
  std::int32_t replication_factor = 1;
  std::int32_t min_insync_replicas = 1;
  std::int32_t max_message_bytes = 0;  // Of one record; 0: what the log's default is.
};

struct PartitionInfo {
  std::int32_t partition = 0;
  Offset start;  // The first offset still held.
  Offset end;    // One past the last.
};

struct TopicInfo {
  TopicSpec spec;
  std::vector<PartitionInfo> partitions;
};

// The contract's topics with their partitions, retention and cleanup. `scale` (0, 1] multiplies the
// partition counts, rounding up, for small machines.
std::vector<TopicSpec> ContractTopics(const TopicOptions& names, double scale);

// A record to append. Without a partition, the key decides; without a key, round robin.
struct ProducerRecord {
  std::string_view key;
  std::string_view value;
  HeadersView headers;
  WallMillis timestamp = 0;  // 0: now.
  std::optional<std::int32_t> partition;
  bool has_key = true;
  bool has_value = true;
};

class Producer {
 public:
  virtual ~Producer() = default;
  // Appends all of `records` to `topic`; when it returns OK they are durable and visible. On the
  // local log in one atomic step for each 4,096 records or 8 MiB; after an error the first steps
  // may be there. Errors: kNotFound (topic), kInvalidArgument (a partition or a size; nothing was
  // written), kUnavailable (retry), and kResourceExhausted (disk full).
  virtual Status Append(const std::string& topic, std::span<const ProducerRecord> records) = 0;
};

enum class ReadPace : std::uint8_t {
  kScan,    // To an end that is known, which is noticed as soon as it is reached.
  kFollow,  // Whatever comes, for as long as it takes: asks seldom, and hears of records at once.
};

// Reads committed records of chosen partitions from chosen offsets, outside any group.
class Reader {
 public:
  virtual ~Reader() = default;
  struct Start {
    TopicPartition partition;
    Offset offset;
  };
  // What to read; replaces what was assigned before. Record::slot is the index in `starts`.
  virtual Status Assign(std::span<const Start> starts) = 0;
  // Like Source::Poll. Records of one partition in offset order.
  virtual Status Poll(const PollLimits& limits, RecordBatch* batch) = 0;
  // The next offset that a Poll may give, as far as it is known: it moves past offsets that carry
  // no record (transaction markers, aborted and compacted records) once they were looked at. A
  // partition was read to `end` when Position >= end. REQUIRES: `slot` was assigned.
  virtual Offset Position(PartitionSlot slot) const = 0;
  virtual void Wake() = 0;
};

struct WorkerLogOptions {
  std::string group;
  TopicOptions topics = {};
  DeliveryMode mode = DeliveryMode::kExactlyOnce;
  Millis transaction_timeout{10'000};  // Kafka: what the coordinator gives one unit of work.
  LogMemory memory = {};
};

// What a worker needs, made together because a commit names the group's membership.
struct WorkerLog {
  std::unique_ptr<Source> source;
  std::unique_ptr<Committer> committer;  // Destroy before `source`.
  // The largest result that the log takes, key and headers included; 0: no limit of its own.
  std::size_t max_result_bytes = 0;
  // Commits that follow each other faster cost more than they bring.
  Millis min_commit_interval{0};
};

// A partition that holds records of a transaction that is neither committed nor aborted.
struct OpenTransaction {
  TopicPartition partition;
  Offset stable;  // Where readers of committed records stop.
  Offset end;
};

// Where a group stands in a partition, and the note that was committed with it.
struct CommittedPosition {
  Offset position;
  std::string note;
};

class Log {
 public:
  virtual ~Log() = default;

  // Errors: kAlreadyExists.
  virtual Status CreateTopic(const TopicSpec& spec) = 0;
  // Those of `names` that exist, or all when it is empty; ends are those of committed records.
  virtual Result<std::vector<TopicInfo>> DescribeTopics(const std::vector<std::string>& names) = 0;
  // Committed position of `group` for every partition of `topic` that has one.
  virtual Result<std::map<std::int32_t, CommittedPosition>> CommittedOffsets(
      const std::string& group, const std::string& topic) = 0;
  virtual Result<std::vector<std::string>> Groups() = 0;
  // An Append waits for a log that is away for up to `patience` before it answers kUnavailable.
  static constexpr Millis kAppendPatience{60'000};
  virtual Result<std::unique_ptr<Producer>> NewProducer(Millis patience) = 0;
  Result<std::unique_ptr<Producer>> NewProducer() { return NewProducer(kAppendPatience); }
  virtual Result<std::unique_ptr<Reader>> NewReader(ReadPace pace) = 0;
  Result<std::unique_ptr<Reader>> NewReader() { return NewReader(ReadPace::kScan); }
  // Joins `group` as a worker. kAlreadyExists with a message that names the other worker when the
  // log allows one worker a group and there is one. kUnavailable: the log is away, try again.
  // kNotFound with all of the topics that are missing.
  virtual Result<WorkerLog> OpenWorker(const WorkerLogOptions& options) = 0;
  // Partitions of `topics` with a transaction that is open at this moment.
  virtual Result<std::vector<OpenTransaction>> OpenTransactions(
      const std::vector<std::string>& topics) = 0;
};

}  // namespace millrace
