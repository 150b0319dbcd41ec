// Names threads, so that `top -H`, perf and a core dump say what each one does.
#pragma once

#include <string>
#include <vector>

#include "base/clock.h"

namespace millrace {

// Names the calling thread. Linux keeps the first 15 bytes.
void SetThreadName(const std::string& name);

struct ThreadCpu {
  std::string name;
  Micros cpu;  // User and system time since the thread started.
};
// CPU time of every thread of this process, from /proc; empty where that cannot be read.
std::vector<ThreadCpu> ReadThreadCpu();

}  // namespace millrace
