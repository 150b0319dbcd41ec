#include "telemetry/process_metrics.h"

#include <dirent.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <sstream>

#include "base/thread_name.h"

namespace millrace {
namespace {

struct ProcStat {
  double threads = 0;
  double start_ticks = 0;  // Since boot.
  double virtual_bytes = 0;
  double resident_pages = 0;
};

// Fields of /proc/self/stat are numbered from 1 in proc(5); the second may hold spaces and closing
// brackets, so reading starts behind the last bracket, at field 3.
std::optional<ProcStat> ReadProcStat() {
  std::ifstream file("/proc/self/stat");
  std::string line;
  if (!std::getline(file, line)) return std::nullopt;
  const std::size_t bracket = line.rfind(')');
  if (bracket == std::string::npos) return std::nullopt;
  std::istringstream fields(line.substr(bracket + 1));
  ProcStat stat;
  std::string field;
  for (int number = 3; fields >> field; ++number) {
    double* const target = number == 20   ? &stat.threads
                           : number == 22 ? &stat.start_ticks
                           : number == 23 ? &stat.virtual_bytes
                           : number == 24 ? &stat.resident_pages
                                          : nullptr;
    if (target != nullptr) *target = std::strtod(field.c_str(), nullptr);
    if (number == 24) return stat;
  }
  return std::nullopt;
}

// Unix time of boot in seconds.
std::optional<double> ReadBootTime() {
  std::ifstream file("/proc/stat");
  std::string key;
  double value = 0;
  for (std::string line; std::getline(file, line);) {
    std::istringstream fields(line);
    if (fields >> key && key == "btime" && fields >> value) return value;
  }
  return std::nullopt;
}

std::optional<double> CountOpenFds() {
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(opendir("/proc/self/fd"), &closedir);
  if (dir == nullptr) return std::nullopt;
  double count = 0;
  while (const dirent* entry = readdir(dir.get())) {
    if (entry->d_name[0] != '.') count += 1;
  }
  return count - 1;  // Less the one that this function holds.
}

double Seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
}

void CollectProcess(std::optional<double> boot_time, SampleSink& sink) {
  rusage usage = {};
  if (getrusage(RUSAGE_SELF, &usage) == 0) {
    sink.AddCounter("process_cpu_seconds_total", "User and system CPU time of the process.", {},
                    Seconds(usage.ru_utime) + Seconds(usage.ru_stime));
  }
  if (const std::optional<ProcStat> stat = ReadProcStat()) {
    const auto ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
    const auto page = static_cast<double>(sysconf(_SC_PAGESIZE));
    sink.AddGauge("process_resident_memory_bytes", "Memory of the process that is in RAM.", {},
                  stat->resident_pages * page);
    sink.AddGauge("process_virtual_memory_bytes", "Address space of the process.", {},
                  stat->virtual_bytes);
    sink.AddGauge("process_threads", "Threads of the process.", {}, stat->threads);
    if (boot_time) {
      sink.AddGauge("process_start_time_seconds", "Unix time at which the process started.", {},
                    *boot_time + stat->start_ticks / ticks);
    }
  }
  if (const std::optional<double> fds = CountOpenFds()) {
    sink.AddGauge("process_open_fds", "Open file descriptors.", {}, *fds);
  }
  rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    sink.AddGauge("process_max_fds", "Limit on open file descriptors.", {},
                  static_cast<double>(limit.rlim_cur));
  }
}

void CollectThreads(SampleSink& sink) {
  std::map<std::string, double> seconds;
  for (const ThreadCpu& thread : ReadThreadCpu()) {
    seconds[thread.name] += static_cast<double>(thread.cpu.count()) / 1e6;
  }
  for (const auto& [name, value] : seconds) {
    sink.AddCounter("millrace_thread_cpu_seconds_total",
                    "User and system CPU time of the living threads of this name.",
                    {{"thread", name}}, value);
  }
}

}  // namespace

CollectorHandle AddProcessMetrics(MetricRegistry& registry) {
  return registry.AddCollector([boot_time = ReadBootTime()](SampleSink& sink) {
    CollectProcess(boot_time, sink);
    CollectThreads(sink);
  });
}

void SetBuildInfo(MetricRegistry& registry, const BuildFacts& facts) {
  registry
      .GetGauge("millrace_build_info", "What this process was built from and runs with; always 1.",
                {{"version", facts.version},
                 {"revision", facts.revision},
                 {"ort", facts.ort},
                 {"librdkafka", facts.librdkafka}})
      ->Set(1);
}

}  // namespace millrace
