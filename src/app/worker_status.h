// WorkerStatus: the JSON that the status page reads, from the metrics and the running worker.
//
// The schema stands in gateway/admin_server.h. Any thread; calls take turns.
#pragma once

#include <mutex>
#include <string>
#include <vector>

#include "app/memory_report.h"
#include "app/options.h"
#include "pipeline/worker.h"
#include "telemetry/metrics.h"

namespace millrace {

// "starting" while there is no worker, "not_ready" while its log is away, else the worker's state.
std::string WorkerStateText(const Worker* worker);

class WorkerStatus {
 public:
  // Both must outlive this.
  WorkerStatus(const AllOptions& options, const MetricRegistry& registry)
      : options_(options), registry_(registry) {}

  // `worker` may be null: it has not started yet.
  std::string Json(const Worker* worker, const std::vector<PartitionStatus>& partitions,
                   const MemoryReport& memory, double uptime_seconds);

 private:
  // What recent figures are relative to: moved on when it is old.
  struct Window {
    MonoTime at{};
    HistogramSnapshot total;
    HistogramSnapshot rows;
  };

  const AllOptions& options_;
  const MetricRegistry& registry_;
  std::mutex mutex_;
  Window window_;  // Guarded by mutex_.
};

}  // namespace millrace
