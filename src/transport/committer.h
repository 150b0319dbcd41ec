// Committer: makes a unit of work durable, all of it or nothing.
//
// A unit of work is every output record of a run of input offsets together with the position after
// them. It becomes visible to readers atomically. Kafka does it with a transaction, the local log
// with one SQL transaction; nothing else in the program knows what a transaction is. One thread,
// the commit thread, calls it, but for Claim. Only pipeline/ starts, commits or aborts a unit of
// work.
//
// With delivery.mode=at-most-once the two halves come apart: Claim makes positions durable before
// their records run, on the intake thread, and a unit of work is its outputs alone. Nobody but
// Claim moves a position then, so that none can go back.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "base/strong.h"
#include "types/record.h"

namespace millrace {

struct PartitionPosition {
  PartitionSlot slot;
  Epoch epoch;
  Offset base;  // What was committed before: the unit holds what [base, next) lacked of outcomes.
  Offset next;  // Every offset below has its outcome in this unit or an earlier one.
  // Kept beside the position, as a text of at most 4096 bytes that means nothing to the log: which
  // offsets at or above `next` have theirs, too. With it a unit may leave the position as it is.
  std::string note = {};
};

// Borrowed from the caller until Commit returns.
struct UnitOfWork {
  std::span<const OutputRecord* const> outputs;  // Those of one key in the order of their inputs.
  std::span<const PartitionPosition> positions;
};

// An attempt whose answer was lost (an error after the log had taken it) is found out by the
// positions: a log that stands at `next` with the unit's note already has it, and the answer is
// kCommitted. No two units of a partition have the same position and note.
enum class CommitOutcome {
  kCommitted,  // Durable and visible.
  kUnknown,    // Not known yet, the log is away: ask again with the same unit, and with no other.
  kRetry,      // Nothing of it is visible; the same unit may be tried again.
  kLost,       // Nothing of it is visible; `lost` partitions are not ours any more.
  kFatal,      // Nothing of it is visible and this worker cannot go on (fenced, damaged log).
};

struct CommitResult {
  CommitOutcome outcome = CommitOutcome::kCommitted;
  Status status;                    // Why, when not committed.
  std::vector<PartitionSlot> lost;  // With kLost.
  // With kCommitted, at most once: outputs that may or may not be visible. To write them again
  // could double them, so nobody does.
  std::size_t given_up = 0;
  bool refused = false;  // With kRetry, of a claim: the log has certainly not taken it.
};

class Committer {
 public:
  virtual ~Committer() = default;
  // Outputs that the next Commit's unit will begin with, behind those staged before: a log may
  // start to write what nobody sees before the unit commits. It need not, and it keeps what goes
  // wrong for Commit to answer. The outputs stay until that has returned; the span does not.
  virtual void Stage(std::span<const OutputRecord* const> outputs) { static_cast<void>(outputs); }
  // Whatever it answers, nothing is staged or borrowed afterwards.
  virtual CommitResult Commit(const UnitOfWork& unit) = 0;

  // At most once only: moves the group's positions from base to next, and nothing else. The intake
  // thread calls it, at any time, also while the commit thread is inside Commit.
  //   kCommitted  taken: whatever happens now, nobody reads what is below `next` again
  //   kUnknown    still under way: ask again with the same positions, and poll nothing before
  //   kRetry      over, and not known to be taken: serve the source, ask again with what is ours;
  //               `refused` when it is known not to be
  //   kLost       nothing was asked of the log, for `lost` partitions are not ours any more
  //   kFatal      this worker cannot go on
  virtual CommitResult Claim(std::span<const PartitionPosition> positions) {
    static_cast<void>(positions);
    return {CommitOutcome::kFatal,
            Status(StatusCode::kUnsupported, "this log was not opened for at-most-once"),
            {}};
  }
};

}  // namespace millrace
