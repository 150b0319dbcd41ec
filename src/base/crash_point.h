// Named points at which a test build dies, to prove what a crash there costs.
//
// A point fires when the environment names it: MILLRACE_CRASH_POINT=<name>[:<n>] ends the process
// with _exit(86) the n-th time (default the first) it is reached, with no destructor run and
// nothing flushed, as kill -9 would. In release builds the call does nothing. Only crash_point.cc
// differs between the two, so that both binaries share every other object. The list of names is
// kCrashPoints; arming a name that is not in it is an error at start.
#pragma once

#include <span>
#include <string_view>

namespace millrace {

inline constexpr int kCrashPointExitCode = 86;

// Every name, in the order of a request's life.
std::span<const std::string_view> CrashPointNames();

// Whether this binary's points can be armed.
bool CrashPointsCompiledIn();

// Dies here when the environment armed `name`; else returns. Any thread may call it.
void CrashPoint(std::string_view name);

}  // namespace millrace
