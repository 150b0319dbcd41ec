// What the process itself shows: process_* as every Prometheus client names them, CPU time per
// thread, and what was built. Read from /proc at each scrape; a value that cannot be read is left
// out. Any thread.
#pragma once

#include <string>

#include "telemetry/metrics.h"

namespace millrace {

// process_cpu_seconds_total, process_resident_memory_bytes, process_virtual_memory_bytes,
// process_open_fds, process_max_fds, process_threads, process_start_time_seconds and
// millrace_thread_cpu_seconds_total{thread} (threads of one name are added up; it falls when a
// thread ends).
CollectorHandle AddProcessMetrics(MetricRegistry& registry);

struct BuildFacts {
  std::string version;
  std::string revision;
  std::string ort;         // "none" when the runtime is not loaded.
  std::string librdkafka;  // "none" without Kafka.
};
// millrace_build_info{version,revision,ort,librdkafka} 1. Call it once.
void SetBuildInfo(MetricRegistry& registry, const BuildFacts& facts);

}  // namespace millrace
