#include "app/worker_status.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/thread_name.h"
#include "generated/build_info.h"

namespace millrace {
namespace {

using nlohmann::json;

constexpr const char* kBatchRows = "millrace_batch_rows";
constexpr const char* kDuration = "millrace_request_duration_seconds";

double Rounded(double value) { return std::round(value * 1000.0) / 1000.0; }

json Totals(const MetricRegistry& registry, const TopicOptions& topics) {
  const auto produced = [&registry](const std::string& topic) {
    return registry.SumCounters("millrace_records_produced_total", {{"topic", topic}});
  };
  return {
      {"consumed", registry.SumCounters("millrace_records_consumed_total")},
      {"results", produced(topics.results)},
      {"dead_letters", produced(topics.dlq)},
      {"commits", registry.SumCounters("millrace_transactions_total", {{"result", "committed"}})},
      {"batches", registry.SumCounters("millrace_batches_total")}};
}

json DeadLetters(const MetricRegistry& registry) {
  json reasons = json::object();
  for (const auto& [labels, count] : registry.CounterValues("millrace_dead_letters_total")) {
    auto& reason = reasons[labels.front().second];
    reason = (reason.is_null() ? 0 : reason.get<std::uint64_t>()) + count;
  }
  return reasons;
}

json Models(const MetricRegistry& registry, const Worker& worker) {
  json models = json::array();
  for (const auto& model : worker.models().versions()) {
    const std::string& id = model->ref().model_id;
    const HistogramSnapshot rows = registry.MergeHistograms(kBatchRows, {{"model", id}});
    const HistogramSnapshot total =
        registry.MergeHistograms(kDuration, {{"model", id}, {"stage", "total"}});
    models.push_back({{"id", id},
                      {"version", model->ref().version},
                      {"state", worker.paused(model->slot) ? "paused" : "serving"},
                      {"requests", static_cast<std::uint64_t>(rows.sum())},
                      {"rows_per_batch", Rounded(rows.Mean())},
                      {"p99_ms", Rounded(total.Quantile(0.99) / 1e6)}});
  }
  return models;
}

json Memory(const Worker& worker, const MemoryReport& memory) {
  json parts = json::object();
  for (const MemoryPart& part : memory.plan().parts) parts[part.name] = part.bytes;
  return {{"budget", memory.plan().total},          {"parts", parts},
          {"in_flight", worker.memory().in_flight}, {"at_start", memory.at_start()},
          {"resident", ResidentMemory()},           {"limit", memory.limit()}};
}

double LargestBatch(const Worker* worker) {
  double rows = 1;
  if (worker == nullptr) return rows;
  for (const auto& model : worker->models().versions()) {
    rows = std::max(rows, static_cast<double>(model->policy.max_rows));
  }
  return rows;
}

}  // namespace

std::string WorkerStateText(const Worker* worker) {
  if (worker == nullptr) return "starting";
  if (worker->state() == WorkerState::kReady && !worker->log_healthy()) return "not_ready";
  return WorkerStateName(worker->state());
}

std::string WorkerStatus::Json(const Worker* worker, const std::vector<PartitionStatus>& partitions,
                               const MemoryReport& memory, double uptime_seconds) {
  constexpr Millis kWindow{5'000};
  json status = {
      {"state", WorkerStateText(worker)},
      {"version", BuildVersion()},
      {"uptime_s", Rounded(uptime_seconds)},
      {"group", options_.transport.group},
      {"transport", options_.transport.kind == TransportKind::kLocal ? "local" : "kafka"},
      {"totals", Totals(registry_, options_.transport.topics)},
      {"dead_letters", DeadLetters(registry_)},
      {"models", worker == nullptr ? json::array() : Models(registry_, *worker)}};
  if (worker != nullptr) {
    status["in_flight"] = worker->totals().in_flight_records;
    status["memory"] = Memory(*worker, memory);
  }

  const HistogramSnapshot total = registry_.MergeHistograms(kDuration, {{"stage", "total"}});
  const HistogramSnapshot rows = registry_.MergeHistograms(kBatchRows);
  {
    const std::lock_guard lock(mutex_);
    HistogramSnapshot recent = total;
    HistogramSnapshot recent_rows = rows;
    recent.Subtract(window_.total);
    recent_rows.Subtract(window_.rows);
    status["latency_ms"] = {{"p50", Rounded(recent.Quantile(0.5) / 1e6)},
                            {"p99", Rounded(recent.Quantile(0.99) / 1e6)}};
    status["batch_fill"] = Rounded(recent_rows.Mean() / LargestBatch(worker));
    const MonoTime now = SystemClock().Now();
    if (now - window_.at > kWindow) window_ = Window{now, total, rows};
  }

  std::int64_t lag = 0;
  status["partitions"] = json::array();
  for (const PartitionStatus& partition : partitions) {
    lag += partition.lag();
    status["partitions"].push_back({{"partition", partition.partition},
                                    {"lag", partition.lag()},
                                    {"committed", partition.committed.value()}});
  }
  status["lag"] = lag;
  status["threads"] = json::array();
  for (const ThreadCpu& thread : ReadThreadCpu()) {
    status["threads"].push_back(
        {{"name", thread.name}, {"cpu_s", static_cast<double>(thread.cpu.count()) / 1e6}});
  }
  return status.dump();
}

}  // namespace millrace
