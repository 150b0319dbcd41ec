// What the measured part of this process costs: CPU time by kind of thread, and memory.
#pragma once

#include <map>
#include <string>

#include "base/clock.h"

namespace millrace {

// Kinds: "intake", "exec", "commit" and so on of the worker's own threads (mr-<kind>...), and
// "librdkafka" for those of the Kafka client. Threads of other names are left out.
struct CpuReading {
  Nanos process{0};  // All threads, those that have ended included.
  std::map<std::string, Nanos> by_kind;
};
CpuReading ReadCpu();

// CPU time of the calling thread.
Nanos ReadOwnCpu();

// Gives freed memory back and forgets the peak, so that MaxRssMib is of what comes from here on.
void ForgetPeakRss();
double MaxRssMib();

}  // namespace millrace
