// WorkerHost: the composition root of a worker: engines, models, log, worker and admin listener.
//
// Builds everything from the settings, in an order that lets probes watch: the admin listener
// answers first (live, not yet ready), then the models load, then the group is joined. `serve` runs
// one; `demo` runs one beside its own publisher. Owner's thread only, except RequestStop and the
// AdminView methods, which the admin thread calls at any time.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "app/memory_report.h"
#include "app/model_loader.h"
#include "app/options.h"
#include "app/worker_status.h"
#include "gateway/admin_server.h"
#include "pipeline/model_lifecycle.h"
#include "pipeline/worker.h"
#include "telemetry/metrics.h"
#include "telemetry/process_metrics.h"
#include "transport/log.h"

namespace millrace {

class WorkerHost final : public AdminView {
 public:
  // `log` must outlive the host. Start loads the models.
  WorkerHost(const AllOptions& options, Log& log);
  // With models that are loaded already; their engines must outlive the host.
  WorkerHost(const AllOptions& options, Log& log, std::vector<ModelToServe> models);
  ~WorkerHost() override;

  // Before Start. `journal` may be null, and must outlive the host; `restarts`: how many workers
  // the supervisor has seen die.
  void UseCrashJournal(CrashJournal* journal, int restarts);
  // A log that is away is asked again for up to `log_patience`, from when the models are loaded;
  // kUnavailable after that, kCancelled when a stop was requested meanwhile.
  Status Start(Millis log_patience = Millis(0));
  void RequestStop();
  Status Wait();

  MetricRegistry& registry() { return registry_; }
  // Null until Start has come that far.
  Worker* worker() const { return published_worker_.load(std::memory_order_acquire); }
  std::uint16_t admin_port() const { return admin_port_; }

  HealthReport Live() override;
  HealthReport Ready() override;
  HealthReport Startup() override;
  std::string StatusJson() override;
  std::string MetricsText() override;

 private:
  Status LoadAll(Millis log_patience);
  Result<WorkerLog> OpenWorkerLog(Millis patience, const LogMemory& memory);
  void CollectLag(SampleSink& sink);
  void CollectMemory(SampleSink& sink);
  std::vector<PartitionStatus> CachedPartitions();

  const AllOptions options_;
  Log& log_;
  MetricRegistry registry_;
  EngineSet engines_;
  ModelLoader loader_;
  Shadow shadow_;
  std::vector<ModelToServe> models_;           // Until the worker takes them.
  std::unique_ptr<ModelLifecycle> lifecycle_;  // Null: the models were given.
  WorkerStatus status_;
  AdminServer admin_;
  std::unique_ptr<Worker> worker_;
  std::atomic<Worker*> published_worker_{nullptr};
  std::atomic<ModelLifecycle*> published_lifecycle_{nullptr};
  std::atomic<bool> was_ready_{false};
  std::atomic<bool> stop_requested_{false};
  std::uint16_t admin_port_ = 0;
  CrashJournal* journal_ = nullptr;
  MemoryReport memory_;  // Set before the worker is published.
  const MonoTime started_ = SystemClock().Now();

  std::mutex mutex_;
  std::vector<PartitionStatus> partitions_;  // Guarded by mutex_.
  MonoTime partitions_at_{};                 // Guarded by mutex_.

  CollectorHandle process_metrics_;
  CollectorHandle lag_metrics_;
  CollectorHandle crash_metrics_;
  CollectorHandle memory_metrics_;
};

}  // namespace millrace
