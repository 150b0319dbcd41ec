#include "app/bench/bench_cpu.h"

#include <malloc.h>
#include <time.h>

#include <fstream>

#include "base/thread_name.h"

namespace millrace {
namespace {

Nanos ReadClock(clockid_t clock) {
  timespec time{};
  clock_gettime(clock, &time);
  return std::chrono::seconds(time.tv_sec) + Nanos(time.tv_nsec);
}

}  // namespace

CpuReading ReadCpu() {
  CpuReading reading;
  reading.process = ReadClock(CLOCK_PROCESS_CPUTIME_ID);
  for (const ThreadCpu& thread : ReadThreadCpu()) {
    if (thread.name.starts_with("mr-")) {
      reading.by_kind[thread.name.substr(3, thread.name.find('-', 3) - 3)] += thread.cpu;
    } else if (thread.name.starts_with("rdk:")) {
      reading.by_kind["librdkafka"] += thread.cpu;
    }
  }
  return reading;
}

Nanos ReadOwnCpu() { return ReadClock(CLOCK_THREAD_CPUTIME_ID); }

void ForgetPeakRss() {
  malloc_trim(0);
  std::ofstream("/proc/self/clear_refs") << "5";
}

double MaxRssMib() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    double kib = 0;
    if (word == "VmHWM:" && status >> kib) return kib / 1024.0;
  }
  return 0;
}

}  // namespace millrace
