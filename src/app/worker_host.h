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

#include "app/memory_report.h"
#include "app/options.h"
#include "app/worker_status.h"
#include "gateway/admin_server.h"
#include "models/repository.h"
#include "pipeline/worker.h"
#include "telemetry/metrics.h"
#include "telemetry/process_metrics.h"
#include "transport/log.h"

namespace millrace {

// Engines by name, opened when first asked for; live for the whole process.
class EngineSet {
 public:
  explicit EngineSet(const RuntimeOptions& options) : options_(options) {}
  Result<Engine*> Get(const std::string& name);
  // Version of ONNX Runtime, or "none" while it is not loaded.
  std::string OnnxRuntimeVersion() const;

 private:
  const RuntimeOptions options_;
  std::unique_ptr<Engine> onnx_;
  std::unique_ptr<Engine> test_;
};

// Loads the serving version of every model of the repository that the settings do not forbid.
// A model that cannot be loaded is an error: a worker that starts without it would turn its
// requests into dead letters. So is one that its probe rejects (model_admission.h). kCancelled when
// `cancel`, which may be null, became true meanwhile.
Result<ModelTable> LoadModels(EngineSet& engines, const AllOptions& options,
                              const std::atomic<bool>* cancel = nullptr);

class WorkerHost final : public AdminView {
 public:
  // `log` must outlive the host. Start loads the models.
  WorkerHost(const AllOptions& options, Log& log);
  // With models that are loaded already; their engines must outlive the host.
  WorkerHost(const AllOptions& options, Log& log, ModelTable models);
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
  Result<WorkerLog> OpenWorkerLog(Millis patience, const LogMemory& memory);
  void CollectLag(SampleSink& sink);
  void CollectMemory(SampleSink& sink);
  std::vector<PartitionStatus> CachedPartitions();

  const AllOptions options_;
  Log& log_;
  MetricRegistry registry_;
  EngineSet engines_;
  std::optional<ModelTable> models_;  // Until the worker takes them.
  WorkerStatus status_;
  AdminServer admin_;
  std::unique_ptr<Worker> worker_;
  std::atomic<Worker*> published_worker_{nullptr};
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
