// AuditLog: feeds an OutcomeChecker from a log, whichever it is, while the log may be in use.
//
// The order of the looks is what keeps a running worker from raising false alarms:
//   1. committed positions of the group: everything below must have an outcome by now;
//   2. ends of the outcome topics: only outcomes below these are judged, and all of step 1's are
//      below them, because a unit's outputs and its positions become visible together;
//   3. committed positions again: every outcome below step 2's ends is covered by these;
//   4. ends of the request topic, after step 3, so that no position can honestly be past them.
// Then every request, then every outcome, one partition at a time. It joins no group, commits
// nothing and changes nothing. Memory: see checker.h. Called on one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "pipeline/verify/checker.h"
#include "transport/log.h"

namespace millrace {

struct AuditOptions {
  std::string group;
  CheckerOptions checker;
  // Told about every kAuditProgressRecords records: the topic at hand, records read so far, and how
  // many there will be at most.
  std::function<void(std::string_view topic, std::int64_t done, std::int64_t total)> progress;
};
inline constexpr std::int64_t kAuditProgressRecords = 16384;

struct LogAudit {
  AuditReport report;
  std::vector<std::string> notes;  // What a reader of the report should know, one line each.
};

// Errors: kNotFound when one of the three topics does not exist; whatever the log answers.
Result<LogAudit> AuditLog(Log& log, const AuditOptions& options);

}  // namespace millrace
