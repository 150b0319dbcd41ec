// Names threads, so that `top -H`, perf and a core dump say what each one does; and what else the
// system can be told of one.
#pragma once

#include <string>
#include <vector>

#include "base/clock.h"

namespace millrace {

// Names the calling thread. Linux keeps the first 15 bytes.
void SetThreadName(const std::string& name);

// Niceness of the calling thread, 0 to 19, on top of the process's own. Needs no privilege.
void SetThreadNice(int nice);

struct ThreadCpu {
  std::string name;
  Micros cpu;  // User and system time since the thread started.
};
// CPU time of every thread of this process, from /proc; empty where that cannot be read.
std::vector<ThreadCpu> ReadThreadCpu();

}  // namespace millrace
