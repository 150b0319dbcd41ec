// BenchRun: one measurement of the pipeline on a log, and of the engine beside it.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "app/options.h"
#include "base/status.h"
#include "transport/log.h"

namespace millrace {

struct BenchPlan {
  std::string model_id;
  std::uint64_t requests = 300'000;
  int tenants = 20;
  double partitions_scale = 0.125;
  std::int32_t partitions = 0;       // Of requests and of results; 0: by partitions_scale, Kafka 8.
  std::string topic_prefix;          // Kafka: topics to make or use; empty: new ones for each run.
  std::uint64_t latency_rate = 500;  // Requests per second of the open-loop part; 0: without.
  std::uint64_t latency_seconds = 5;
  std::uint64_t seed = 1;
};

struct BenchFigures {
  std::uint64_t requests = 0;
  double seconds = 0;  // From the first partition assigned to the last commit.
  double requests_per_second = 0;
  double cpu_seconds = 0;  // Of the worker: this process without what publishes and measures.
  double cpu_us_per_request = 0;
  double p50_ms = 0;  // Open loop: from due time to visible to an independent reader.
  double p95_ms = 0;
  double p99_ms = 0;
  double max_rss_mib = 0;  // While the worker ran over the preload.
  double rows_per_batch = 0;
  double records_per_commit = 0;
  std::map<std::string, std::uint64_t> transactions;  // By result: committed, retried, ...
  double engine_rows_per_second = 0;  // The engine alone, one thread, same batch size.
  double engine_cpu_us_per_row = 0;
  double executor_share_in_engine = 0;      // Of the executors' busy time.
  std::map<std::string, double> stage_us;   // Wall time per request in each stage.
  std::map<std::string, double> thread_us;  // CPU time per request of each kind of thread.
};

// Preloads the requests topic of `log` unless it holds exactly the plan's requests already, runs a
// worker over it, then the open-loop part. The group of `options` must have read nothing yet, and
// the requests must all become results.
Result<BenchFigures> RunBench(const AllOptions& options, const BenchPlan& plan, Log& log);

}  // namespace millrace
