// ReplayJob: copies chosen records of one topic to another, each of them exactly once.
//
// It is a worker without models. A Source reads the topic for a group of the job's own; for each
// record a Choose function says what becomes of it; the Committer makes the copies durable together
// with the group's positions, which move past records that were not chosen, too. So a job that was
// killed goes on where its last unit ended, and one that runs again finds nothing to do. It reads
// up to the ends it was given, and no further.
//
// Rebalances: a partition that moves to another run of the same job takes its uncommitted copies
// with it; the job waits for the other run to finish it. One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <span>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "pipeline/backoff.h"
#include "transport/log.h"

namespace millrace {

enum class ReplayChoice : std::uint8_t {
  kSkip,  // The position moves past it.
  kCopy,  // The OutputRecord was filled in, with OutputTopic::kResults.
  kStop,  // Neither it nor what follows it in its partition is looked at by this run.
};

struct ReplayTotals {
  std::int64_t looked_at = 0;
  std::int64_t copied = 0;     // Durable and visible.
  std::int64_t too_large = 0;  // Chosen, but more than the target takes: skipped.
};

struct ReplayJobOptions {
  std::map<std::int32_t, Offset> ends;  // By partition of the topic that is read.
  double rate = 0;                      // Copies a second at most; 0: as fast as it goes.
  RetryOptions retry = {};
  Millis patience{60'000};       // How long nothing may move before the job gives up.
  const Clock* clock = nullptr;  // Null: the machine's.
  // The group's committed positions, for partitions that another run has.
  std::function<Result<std::map<std::int32_t, Offset>>()> committed = nullptr;
};

class ReplayJob final : private Source::Listener {
 public:
  // Called for every record in the order of its partition. Appends to the chunk only for kCopy.
  using Choose = std::function<ReplayChoice(const Record& record, std::int32_t partition,
                                            OutputChunk& chunk, OutputRecord* out)>;
  // Called several times a second; false ends the job after what is at hand has been committed.
  using GoOn = std::function<bool(const ReplayTotals& totals)>;

  static constexpr std::size_t kMaxUnitRecords = 4096;
  static constexpr std::size_t kMaxUnitBytes = 4 << 20;
  static constexpr std::int64_t kMaxUnitLookedAt = 65'536;
  // With a rate: copies of this long may come at once, after a pause or a slow commit.
  static constexpr Millis kMaxBurst{200};

  ReplayJob(WorkerLog worker, ReplayJobOptions options, Choose choose);
  ~ReplayJob() override;
  ReplayJob(const ReplayJob&) = delete;
  ReplayJob& operator=(const ReplayJob&) = delete;

  // Runs to the ends, or until `go_on` says no. Errors: kUnavailable when the log was away for
  // longer than options.patience, kFenced when another run has taken this one's place. Whatever the
  // answer, what was committed stands, and another run goes on from there. Call it once.
  Status Run(const GoOn& go_on);
  const ReplayTotals& totals() const { return totals_; }
  // Whether every partition was read to its end.
  bool finished() const { return finished_; }

 private:
  struct Part {
    bool ours = false;
    std::int32_t partition = -1;
    Epoch epoch;
    Offset base;      // Committed.
    Offset next;      // Everything below was looked at.
    Offset advanced;  // Where the source said that nothing is left below, not yet in `next`.
    Offset end;
  };
  struct Copy {
    OutputRecord record;
    PartitionSlot slot;
    Epoch epoch;
  };

  void OnAssigned(std::span<const PartitionAssignment> partitions) override;
  void OnRevoked(std::span<const PartitionSlot> partitions) override;
  void OnLost(std::span<const PartitionSlot> partitions) override;
  void OnPositionAdvanced(PartitionSlot slot, Offset position) override;

  Status Step(const GoOn& go_on);
  Status Poll();
  void TakeRecord(const Record& record);
  Status CommitUnit(const GoOn& go_on);
  void FillUnit();
  void Committed();
  void Drop(PartitionSlot slot);
  void ForgetRead(PartitionSlot slot);
  void SettleAtEnd(const Part& part);
  Status AskForOthers();
  bool UnitIsFull() const;
  bool Moved() const;
  bool Done() const;
  bool RateAllows();
  Part& At(PartitionSlot slot);
  MonoTime Now() const { return clock_.Now(); }

  WorkerLog worker_;
  const ReplayJobOptions options_;
  const Choose choose_;
  const Clock& clock_;
  Backoff backoff_;

  std::vector<Part> parts_;         // By slot.
  std::set<std::int32_t> settled_;  // Partitions committed to their ends, by this run or another.
  RecordBatch batch_;
  RecordBatch events_;      // Stays empty: for polls that only serve the group.
  std::size_t cursor_ = 0;  // The first record of batch_ that was not looked at.

  // The unit at hand.
  OutputChunk chunk_;
  std::vector<Copy> copies_;
  std::int64_t unit_looked_at_ = 0;
  std::vector<const OutputRecord*> outputs_;
  std::vector<PartitionPosition> positions_;

  ReplayTotals totals_;
  double allowance_ = 1;  // Copies that the rate allows now.
  MonoTime allowance_at_{};
  MonoTime last_progress_{};
  MonoTime asked_at_{};
  bool finished_ = false;
};

}  // namespace millrace
