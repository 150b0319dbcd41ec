// The process that a model is probed in: started, limited in time, watched, and always reaped.
//
// Starts this program again with the argument kProbeArgument (posix_spawn: nothing of this
// process's threads and locks is copied). The child gets its order on stdin, answers on descriptor
// kProbeAnswerFd, and inherits no other descriptor and few variables of the environment: no
// connection, no open log and no secret of this process is within a hostile model's reach. What it
// prints is kept to a bound. Blocks until the child is gone. Any thread.
#pragma once

#include <atomic>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/status.h"

namespace millrace {

inline constexpr const char* kProbeArgument = "probe-child";
inline constexpr int kProbeAnswerFd = 3;
// An order is written before the child reads, so it must fit into a pipe.
inline constexpr std::size_t kMaxProbeOrderBytes = 32 << 10;
// A child that answers more has something else in mind.
inline constexpr std::size_t kMaxProbeAnswerBytes = 64 << 10;
// Of what it prints, the end.
inline constexpr std::size_t kMaxProbeWordsBytes = 2 << 10;

struct ProbeEnd {
  std::string answer;
  std::string words;  // The end of what it printed.
  bool timed_out = false;
  bool cancelled = false;
  bool babbled = false;  // Ended by us for a too long answer.
  int status = 0;        // As waitpid gives it.
};

// An error only when the child could not be started. `cancel` may be null.
Result<ProbeEnd> RunProbeProcess(const std::string& program, std::string_view order, Millis limit,
                                 const std::atomic<bool>* cancel);

}  // namespace millrace
