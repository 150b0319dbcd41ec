// BenchRun: one measurement of the pipeline on a fresh local log, and of the engine beside it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "app/options.h"
#include "base/status.h"

namespace millrace {

struct BenchPlan {
  std::string model_id;
  std::uint64_t requests = 300'000;
  int tenants = 20;
  double partitions_scale = 0.125;
  std::uint64_t latency_rate = 500;  // Requests per second of the open-loop part; 0: without.
  std::uint64_t latency_seconds = 5;
  std::uint64_t seed = 1;
};

struct BenchFigures {
  std::uint64_t requests = 0;
  double seconds = 0;
  double requests_per_second = 0;
  double cpu_seconds = 0;  // Of the worker's own threads.
  double cpu_us_per_request = 0;
  double p50_ms = 0;  // Open loop: from due time to visible to an independent reader.
  double p95_ms = 0;
  double p99_ms = 0;
  double max_rss_mib = 0;
  double rows_per_batch = 0;
  double records_per_commit = 0;
  double engine_rows_per_second = 0;  // The engine alone, one thread, same batch size.
  double engine_cpu_us_per_row = 0;
  double executor_share_in_engine = 0;      // Of the executors' busy time.
  std::map<std::string, double> stage_us;   // Wall time per request in each stage.
  std::map<std::string, double> thread_us;  // CPU time per request of each kind of thread.
};

// Preloads a log in `dir` (emptied first), runs a worker over it, then the open-loop part. The
// requests must all become results.
Result<BenchFigures> RunBench(const AllOptions& options, const BenchPlan& plan,
                              const std::filesystem::path& dir);

}  // namespace millrace
