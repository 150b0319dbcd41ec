// AuditLog: feeds an OutcomeChecker from a log, whichever it is, while the log may be in use.
//
// The order of the looks is what keeps a running worker from raising false alarms:
//   1. committed positions of the group: everything below must have an outcome by now;
//   2. transactions that are open in one of the topics: a cluster ends one in one partition after
//      the other, so that step 1's outcomes may be held back for a moment yet. Each is waited for
//      until readers are past everything that was there; one that does not move hangs;
//   3. ends of the outcome topics: only outcomes below these are judged, and all of step 1's are
//      below them;
//   4. committed positions again: every outcome below step 3's ends is covered by these;
//   5. ends of the request topic, after step 4, so that no position can honestly be past them.
// Then every request, then every outcome, one partition at a time. All ends are those of committed
// records. It joins no group, commits nothing and changes nothing. Memory: see checker.h. Called on
// one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "pipeline/verify/checker.h"
#include "transport/log.h"

namespace millrace {

struct AuditOptions {
  std::string group;
  CheckerOptions checker = {};
  Millis open_wait{15'000};  // How long a transaction may be open without moving.
  // Told about every kAuditProgressRecords records: the topic at hand, records read so far, and how
  // many there will be at most.
  std::function<void(std::string_view topic, std::int64_t done, std::int64_t total)> progress =
      nullptr;
  // How the audit waits, and the clock that it waits by; tests bring their own.
  std::function<void(Millis)> wait = nullptr;  // Null: it sleeps.
  const Clock* clock = nullptr;                // Null: the machine's.
};
inline constexpr std::int64_t kAuditProgressRecords = 16384;

struct LogAudit {
  AuditReport report;
  std::vector<std::string> notes;  // What a reader of the report should know, one line each.
};

// Errors: kNotFound when one of the three topics does not exist; whatever the log answers.
Result<LogAudit> AuditLog(Log& log, const AuditOptions& options);

}  // namespace millrace
