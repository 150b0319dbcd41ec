// CommitLoop: the one place that commits. Takes unit after unit from the ledger, step by step, and
// hands it to the Committer, which may start to write before the unit is complete; the next unit
// gathers while this one commits.
//
// A unit that could not be committed is tried again after a pause, the same unit, for as long as it
// takes: an outage delays outcomes, it never loses or dead-letters one. The same unit, because an
// attempt may have been taken and only its answer lost; the log finds that out by the unit's
// positions. Only a fatal answer (fenced, damaged log) ends the loop.
#pragma once

#include <atomic>

#include "pipeline/backoff.h"
#include "pipeline/intake.h"
#include "transport/committer.h"

namespace millrace {

class CommitLoop {
 public:
  CommitLoop(WorkerParts& parts, Committer& committer) : parts_(parts), committer_(committer) {}

  // Commits until the ledger's StopCommits and nothing is left, or a fatal error, or GiveUp. On the
  // commit thread.
  Status Run();
  // Ends the loop even while commits fail: the drain deadline has passed. Any thread.
  void GiveUp() { give_up_.store(true, std::memory_order_relaxed); }
  // The same once `deadline` has passed: the intake thread may be unable to call GiveUp, for it
  // waits for the unit at hand while it loses its partitions. Any thread.
  // The first deadline counts.
  void StopBy(MonoTime deadline) {
    MonoTime none = MonoTime::max();
    stop_by_.compare_exchange_strong(none, deadline, std::memory_order_relaxed);
  }

  bool healthy() const { return healthy_.load(std::memory_order_relaxed); }

 private:
  // Commits the unit, or gives it back to the ledger. An error ends the loop.
  Status Settle(SealedUnit* unit);
  void Report(const CommitResult& result, const SealedUnit& unit);

  WorkerParts& parts_;
  Committer& committer_;
  Backoff backoff_{parts_.retry};
  LogLimiter failed_log_{Millis(5'000)};
  std::atomic<bool> give_up_{false};
  std::atomic<MonoTime> stop_by_{MonoTime::max()};
  std::atomic<bool> healthy_{true};
};

}  // namespace millrace
