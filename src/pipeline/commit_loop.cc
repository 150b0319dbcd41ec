#include "pipeline/commit_loop.h"

#include <string>
#include <thread>

#include "base/crash_point.h"
#include "pipeline/backoff.h"
#include "telemetry/log.h"

namespace millrace {

Status CommitLoop::Run() {
  SealedUnit unit;
  Backoff backoff(parts_.retry);
  while (parts_.ledger.WaitAndSeal(&unit)) {
    CrashPoint("unit_sealed");
    const MonoTime started = parts_.clock.Now();
    const CommitResult result = committer_.Commit(unit.view());
    switch (result.outcome) {
      case CommitOutcome::kCommitted:
        parts_.probe.OnCommit(unit.outcomes, parts_.clock.WallNow(), parts_.clock.Now() - started);
        parts_.ledger.Committed(&unit);
        backoff.Reset();
        healthy_.store(true, std::memory_order_relaxed);
        continue;
      case CommitOutcome::kLost:
        parts_.probe.OnCommitFailed("lost");
        parts_.ledger.Restore(&unit, result.lost);
        continue;
      case CommitOutcome::kFatal:
        parts_.probe.OnCommitFailed("fatal");
        parts_.ledger.Restore(&unit, {});
        return result.status;
      case CommitOutcome::kRetry:
        break;
    }
    parts_.probe.OnCommitFailed("retried");
    parts_.ledger.Restore(&unit, {});
    healthy_.store(false, std::memory_order_relaxed);
    LogEvery(failed_log_, LogLevel::kError, "commit_failed",
             "outcomes cannot be committed; trying again until they are",
             {{"error", std::string(result.status.message())},
              {"records", std::to_string(unit.outcomes.size())}});
    if (give_up_.load(std::memory_order_relaxed)) {
      return result.status.WithContext("gave up at the drain deadline");
    }
    std::this_thread::sleep_for(backoff.Next());
  }
  return Status::Ok();
}

}  // namespace millrace
