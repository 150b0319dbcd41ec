#include "pipeline/commit_loop.h"

#include <string>
#include <thread>

#include "base/crash_point.h"
#include "telemetry/log.h"

namespace millrace {

Status CommitLoop::Run() {
  SealedUnit unit;
  while (true) {
    switch (parts_.ledger.Gather(&unit)) {
      case Ledger::Gathered::kMore:
        committer_.Stage(unit.newest());
        break;
      case Ledger::Gathered::kDue:
        CrashPoint("unit_sealed");
        MILLRACE_RETURN_IF_ERROR(Settle(&unit));
        break;
      case Ledger::Gathered::kStopped:
        return Status::Ok();
    }
  }
}

Status CommitLoop::Settle(SealedUnit* unit) {
  while (true) {
    const MonoTime started = parts_.clock.Now();
    const CommitResult result = committer_.Commit(unit->view());
    if (result.outcome == CommitOutcome::kCommitted) {
      if (result.given_up > 0) parts_.probe.OnUnanswered(result.given_up);
      parts_.probe.OnCommit(unit->outcomes, parts_.clock.WallNow(), parts_.clock.Now() - started);
      parts_.ledger.Committed(unit);
      backoff_.Reset();
      healthy_.store(true, std::memory_order_relaxed);
      return Status::Ok();
    }
    Report(result, *unit);
    if (result.outcome == CommitOutcome::kLost) {
      parts_.ledger.Restore(unit, result.lost);
      return Status::Ok();
    }
    const bool fatal = result.outcome == CommitOutcome::kFatal;
    const bool gave_up = give_up_.load(std::memory_order_relaxed) ||
                         parts_.clock.Now() >= stop_by_.load(std::memory_order_relaxed);
    if (fatal || gave_up) {
      parts_.ledger.Restore(unit, {});
      return fatal ? result.status : result.status.WithContext("gave up at the drain deadline");
    }
    // Until the log has said whether it has this unit, nothing else may be made of its outcomes.
    const bool unknown = result.outcome == CommitOutcome::kUnknown;
    const bool close_waits = !unknown && parts_.ledger.CloseWaits();
    if (close_waits) parts_.ledger.Restore(unit, {});
    std::this_thread::sleep_for(backoff_.Next());
    if (close_waits) return Status::Ok();
  }
}

void CommitLoop::Report(const CommitResult& result, const SealedUnit& unit) {
  switch (result.outcome) {
    case CommitOutcome::kCommitted:
      return;
    case CommitOutcome::kLost:
      parts_.probe.OnCommitFailed("lost");
      return;
    case CommitOutcome::kFatal:
      parts_.probe.OnCommitFailed("fatal");
      return;
    case CommitOutcome::kRetry:
    case CommitOutcome::kUnknown:
      break;
  }
  parts_.probe.OnCommitFailed("retried");
  healthy_.store(false, std::memory_order_relaxed);
  LogEvery(failed_log_, LogLevel::kError, "commit_failed",
           "outcomes cannot be committed; trying again until they are",
           {{"error", result.status}, {"records", unit.outcomes.size()}});
}

}  // namespace millrace
