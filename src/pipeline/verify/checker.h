// OutcomeChecker: the audit itself: has every request exactly one outcome, the right one, in order?
//
// It is fed facts, in this order: the partitions of the input topic with what was committed, then
// every request, then every outcome, one output partition after the other; Finish gives the report.
// It reads no log, no clock and no file, so that tests can plant every fault there is.
//
// What it proves, in the terms of exactly-once.md:
//   I1  a committed request has one outcome                        missing, duplicated
//   I2  no other has any                                           orphaned
//   I4  outcomes of one key keep the order of their requests       order_violations
//   I7  a committed position never goes back                       committed_went_back
//   I10 a dead letter holds the request's bytes                    altered
//   I6  no transaction hangs in one of the topics                  open_transactions
//   I11 something was examined                                     vacuous
// and that an outcome is its request's own (mismatched). A torn unit of work, one that became
// visible in part, has no counter of its own because it cannot hide from these: outputs without
// their offsets are orphaned, offsets without their outputs are missing.
//
// A worker may go on while its log is audited. Each partition therefore has two committed
// positions: `committed`, read before the outcomes were (everything below must have an outcome),
// and `settled`, read after (nothing at or above may have one). In between, an outcome may or may
// not have been seen; more than one is a fault there too. What a position's note lists beyond it
// counts as below.
//
// Memory: RequestTable::kBytesPerRequest for each request below `settled`, and about 32 bytes for
// each distinct key within the one output partition at hand. One thread at a time.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/strong.h"
#include "pipeline/position_note.h"
#include "pipeline/verify/request_table.h"
#include "transport/options.h"
#include "types/record.h"

namespace millrace {

struct CheckerOptions {
  TopicOptions topics;
  bool allow_empty = false;       // Whether a log without a committed request can be ok.
  std::size_t max_examples = 10;  // Kept of each kind of violation.
};

// One partition of the input topic.
struct AuditedPartition {
  Offset start;  // The first offset still held.
  Offset end;    // One past the last, read after everything below.
  // Of the group, before the outcomes were read; 0 when there is none. And what its note says.
  Offset committed;
  Offset settled;  // The same, after. Equal to `committed` when no worker runs.
  std::vector<OffsetRange> committed_beyond = {};
  std::vector<OffsetRange> settled_beyond = {};
};

struct AuditedRequest {
  std::int32_t partition = 0;
  Offset offset;
  std::string_view key;         // Empty when the record has none.
  std::string_view value;       // Empty for a tombstone.
  std::string_view request_id;  // Empty when it could not be read; likewise below.
  std::string_view tenant_id;
  std::string_view model_id;
};

struct AuditedOutcome {
  OutputTopic topic = OutputTopic::kResults;
  std::int32_t partition = 0;  // Of the output topic, like `offset`.
  Offset offset;

  bool has_source = false;  // False: absent or not topic:partition:offset.
  std::string_view source;  // What stands there, for the message.
  std::string_view source_topic;
  std::int32_t source_partition = 0;
  Offset source_offset;

  std::string_view key;
  std::string_view value;
  std::string_view tenant_id;  // Of the headers; empty when absent.
  std::string_view model_id;
  std::string_view request_id;    // Results: of the value.
  std::string_view status;        // Results: of the value.
  std::string_view original_key;  // Dead letters; empty when the request had no key.
};

enum class Violation : std::uint8_t {
  kMissing,             // A committed request without an outcome.
  kDuplicated,          // An outcome beyond the first of its request, of either kind.
  kOrphaned,            // An outcome of no committed request: too early, or of nothing that exists.
  kMismatched,          // An outcome with another key, id, tenant or model than its request's.
  kAltered,             // A dead letter whose value is not the request's bytes.
  kOrder,               // An outcome behind one of a later request of the same key.
  kCommittedBeyondEnd,  // A committed position past the end of its partition.
  kCommittedWentBack,   // A committed position lower than it was.
};
inline constexpr std::size_t kViolations = 8;
// As in the JSON report: "missing", "order_violations", ...
std::string_view ViolationName(Violation violation);

struct ViolationExample {
  std::string where;   // topic:partition:offset
  std::string detail;  // One line.
};

struct AuditReport {
  std::int64_t requests = 0;     // Below the committed position and still held.
  std::int64_t in_progress = 0;  // Committed while the audit ran; not required, not counted above.
  std::int64_t pending = 0;      // At or above the committed position: not answered yet.
  std::int64_t results = 0;      // Looked at, all of them.
  std::int64_t dead_letters = 0;
  std::int64_t expired = 0;  // Outcomes whose request retention has deleted: not checkable.
  std::int64_t open_transactions = 0;  // Partitions with one; 0 on the local log, always.
  std::int64_t examined = 0;           // Records looked at: requests, pending ones and outcomes.
  std::array<std::int64_t, kViolations> violations{};
  std::array<std::vector<ViolationExample>, kViolations> examples;
  std::vector<ViolationExample> open_examples;
  bool vacuous = false;  // No request was below a committed position: nothing was proven.
  bool ok = false;

  std::int64_t count(Violation violation) const {
    return violations[static_cast<std::size_t>(violation)];
  }
};

class OutcomeChecker {
 public:
  explicit OutcomeChecker(CheckerOptions options);

  // `partitions[i]` is partition i of the input topic. First, once.
  void SetPartitions(std::span<const AuditedPartition> partitions);
  // Offsets of one partition grow. Those at or past its `end` arrived since and are not counted.
  void AddRequest(const AuditedRequest& request);
  // After every request. Outcomes come one output partition after the other, in offset order.
  void AddOutcome(const AuditedOutcome& outcome);
  // A partition where a transaction hangs: committed records end at `stable`, all at `end`.
  void AddOpenTransaction(const TopicPartition& partition, Offset stable, Offset end);
  // Last, once.
  AuditReport Finish();

 private:
  struct KeyOfPartition {
    std::uint64_t key = 0;
    std::int32_t partition = 0;  // Of the input topic: order is promised within one.
    friend bool operator==(const KeyOfPartition&, const KeyOfPartition&) = default;
  };
  struct KeyOfPartitionHash {
    std::size_t operator()(const KeyOfPartition& k) const noexcept {
      return static_cast<std::size_t>(k.key ^ (static_cast<std::uint64_t>(k.partition) << 32));
    }
  };

  void CheckContent(const AuditedOutcome& outcome, const RequestFacts& facts);
  void CheckResult(const AuditedOutcome& outcome, const RequestFacts& facts);
  void CheckDeadLetter(const AuditedOutcome& outcome, const RequestFacts& facts);
  void CheckOrder(const AuditedOutcome& outcome, const RequestFacts& facts);
  // The table index of the outcome's request, or kNone after having counted why there is none.
  std::size_t Resolve(const AuditedOutcome& outcome);
  void Count(Violation violation, std::string where, std::string detail);
  void Count(Violation violation, const AuditedOutcome& outcome, std::string detail);
  const std::string& TopicName(OutputTopic topic) const;

  const CheckerOptions options_;
  struct Partition {
    Offset start;
    Offset end;
    CommittedSet committed;
    CommittedSet settled;
    // Whether the group may have committed it.
    bool Maybe(Offset offset) const { return committed.Has(offset) || settled.Has(offset); }
  };
  void CheckWentBack(std::int32_t number, const Partition& partition);

  std::vector<Partition> partitions_;
  std::vector<RequestTable> tables_;  // By input partition.
  AuditReport report_;

  // The output partition at hand, and the last source offset of each key seen in it.
  OutputTopic order_topic_ = OutputTopic::kResults;
  std::int32_t order_partition_ = -1;
  std::unordered_map<KeyOfPartition, Offset, KeyOfPartitionHash> last_of_key_;
};

}  // namespace millrace
