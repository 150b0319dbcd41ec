// Supervisor: `serve --supervise`, a parent process that starts the worker again when it crashes.
//
// The worker is this same program with the same arguments less --supervise, and with the variable
// kSupervisedVariable in its environment. A worker that a signal ended (a crash of a model, the
// kernel for want of memory, kill -9) is started again: at once the first time, then with growing
// pauses (retry.*), which end when one has lived for kStableAfter. One that exits by itself ends
// the supervisor with the same code: what is wrong then (a setting, the log) another start would
// not mend. SIGTERM and SIGINT go on to the worker, which drains and leaves; nothing is started
// after one. A supervisor that dies takes its worker with it. It has one thread and no state but
// the count of restarts and the crash journal in memory.
#pragma once

#include <optional>
#include <string>

#include "app/command.h"
#include "base/clock.h"

namespace millrace {

// Belongs to the worker's start: read it before anything else of the process is set up.
inline constexpr const char* kSupervisedVariable = "MILLRACE_SUPERVISED";
inline constexpr Millis kStableAfter{60'000};

// What a worker is told by its supervisor.
struct SupervisedLife {
  int restarts = 0;     // How many workers of this supervisor have died.
  int journal_fd = -1;  // The journal in memory.
  std::string member;   // The same for all of them, and no other supervisor's.
};

// Nothing when there is no supervisor. The variable is taken out of the environment.
std::optional<SupervisedLife> TakeSupervisedLife();

// Runs until the worker has ended for good; the exit code of the process. REQUIRES: no thread has
// been started.
int Supervise(const CommandContext& context);

}  // namespace millrace
