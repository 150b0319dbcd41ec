#include "app/worker_host.h"

#include <unistd.h>

#include <algorithm>
#include <climits>
#include <map>
#include <thread>

#include "generated/build_info.h"
#include "telemetry/log.h"
#include "telemetry/prometheus_text.h"
#include "transport/kafka/client_version.h"

namespace millrace {
namespace {

// Between two attempts to open a log that is away.
constexpr Millis kLogRetry{250};
// How long a scrape may be answered with the partitions' offsets of an earlier one.
constexpr Millis kPartitionsCache{900};

// How the model status records call this worker: by a name that outlives it, if it has one.
std::string WorkerName(const TransportOptions& transport) {
  if (!transport.kafka.instance_id.empty()) return transport.kafka.instance_id;
  char host[HOST_NAME_MAX + 1] = {};
  if (::gethostname(host, sizeof host - 1) != 0) return "worker";
  if (!transport.kafka.slot.empty()) return std::string(host) + "-" + transport.kafka.slot;
  return std::string(host) + "-" + std::to_string(::getpid());
}

// `limits` as far as a log goes that takes records of `max_record_bytes` (0: any): what a result
// holds besides its value, its key and the headers that travel on, needs room there, too.
CodecLimits WithinLog(CodecLimits limits, std::size_t max_record_bytes) {
  constexpr std::int64_t kOwnHeaders = 1 << 10;
  if (max_record_bytes == 0) return limits;
  const auto record = static_cast<std::int64_t>(max_record_bytes);
  const std::int64_t around = limits.max_id_bytes + limits.max_header_bytes + kOwnHeaders;
  const std::int64_t room = std::max(record - around, record / 2);
  if (room >= limits.max_result_bytes) return limits;
  LogEvent(LogLevel::kWarn, "result_limit_lowered",
           "the log takes no larger results than this; larger ones become dead letters",
           {{"max_result_bytes", room},
            {"limits.max_result_bytes", limits.max_result_bytes},
            {"log_max_record_bytes", record}});
  limits.max_result_bytes = room;
  return limits;
}

}  // namespace

WorkerHost::WorkerHost(const AllOptions& options, Log& log)
    : options_(options),
      log_(log),
      engines_(options.runtime),
      loader_(engines_, options_),
      shadow_(log, options_.transport.topics, options_.limits, SystemClock(), registry_),
      status_(options_, registry_),
      admin_(*this) {
  process_metrics_ = AddProcessMetrics(registry_);
  lag_metrics_ = registry_.AddCollector([this](SampleSink& sink) { CollectLag(sink); });
  memory_metrics_ = registry_.AddCollector([this](SampleSink& sink) { CollectMemory(sink); });
}

WorkerHost::WorkerHost(const AllOptions& options, Log& log, std::vector<ModelToServe> models)
    : WorkerHost(options, log) {
  models_ = std::move(models);
}

WorkerHost::~WorkerHost() {
  admin_.Stop();
  if (lifecycle_ != nullptr) lifecycle_->Stop();  // It works on what is the worker's.
  published_worker_.store(nullptr, std::memory_order_release);
}

void WorkerHost::UseCrashJournal(CrashJournal* journal, int restarts) {
  journal_ = journal;
  registry_
      .GetCounter("millrace_worker_restarts_total",
                  "Times the supervisor (serve --supervise) has started the worker again.")
      ->Add(static_cast<std::uint64_t>(restarts));
  if (journal == nullptr) return;
  crash_metrics_ = registry_.AddCollector([journal](SampleSink& sink) {
    sink.AddGauge("millrace_crash_suspects",
                  "Requests that a model crashed with: still to be run alone, or on their way to "
                  "the dead letters.",
                  {}, static_cast<double>(journal->suspects()));
  });
}

Status WorkerHost::Start(Millis log_patience) {
  if (!options_.http.admin_listen.empty()) {
    const Result<std::uint16_t> port = admin_.Start(options_.http.admin_listen);
    if (!port.ok()) return port.status();
    admin_port_ = *port;
    LogEvent(LogLevel::kInfo, "admin_listening", "metrics, health and status page",
             {{"port", static_cast<int>(admin_port_)}});
  }
  if (models_.empty()) MILLRACE_RETURN_IF_ERROR(LoadAll(log_patience));
  SetBuildInfo(registry_, BuildFacts{std::string(BuildVersion()), std::string(BuildRevision()),
                                     engines_.OnnxRuntimeVersion(), KafkaClientVersion()});
  Result<MemoryPlan> plan = PlanMemory(options_);
  if (!plan.ok()) return plan.status();
  memory_ = MemoryReport(std::move(plan).value());
  memory_.Log();
  const MemoryPlan& memory = memory_.plan();
  Result<WorkerLog> log = OpenWorkerLog(log_patience, memory.log);
  if (!log.ok()) return log.status();
  WorkerOptions worker{.group = options_.transport.group,
                       .topics = options_.transport.topics,
                       .delivery = memory.delivery,
                       .memory = memory.worker,
                       .retry = options_.retry,
                       .executor = options_.executor,
                       .fairness = options_.fairness,
                       .limits = WithinLog(options_.limits, log->max_result_bytes),
                       .tenants = options_.tenants,
                       .allow_missing_for = options_.repository.allow_missing_for};
  worker.journal = journal_;
  if (lifecycle_ != nullptr) worker.shadow = &shadow_;
  worker_ = std::make_unique<Worker>(worker, SystemClock(), registry_, std::move(log).value(),
                                     lifecycle_.get());
  MILLRACE_RETURN_IF_ERROR(lifecycle_ == nullptr ? worker_->Serve(std::move(models_))
                                                 : lifecycle_->Serve(worker_->serving()));
  published_worker_.store(worker_.get());
  // A stop that came while the models loaded found no worker to tell.
  if (stop_requested_.load()) worker_->RequestStop();
  MILLRACE_RETURN_IF_ERROR(worker_->Start());
  if (lifecycle_ != nullptr) {
    shadow_.Start();
    lifecycle_->Start();
  }
  was_ready_.store(true, std::memory_order_release);
  LogEvent(LogLevel::kInfo, "ready", "serving",
           {{"group", options_.transport.group},
            {"models", worker_->models().size()},
            {"partitions", worker_->assigned_partitions()}});
  return Status::Ok();
}

// What events and repository come to, before the group is joined.
Status WorkerHost::LoadAll(Millis log_patience) {
  const TransportOptions& transport = options_.transport;
  lifecycle_ = std::make_unique<ModelLifecycle>(
      ModelLifecycle::Options{transport.topics, WorkerName(transport),
                              options_.repository.model_path_for, options_.repository.lazy,
                              static_cast<std::size_t>(options_.repository.memory)},
      SystemClock(), log_, loader_, shadow_);
  // A stop that came before found nobody to tell.
  if (stop_requested_.load()) lifecycle_->Cancel();
  published_lifecycle_.store(lifecycle_.get());
  MILLRACE_RETURN_IF_ERROR(lifecycle_->CatchUp(SystemClock().Now() + log_patience));
  MILLRACE_RETURN_IF_ERROR(lifecycle_->LoadAll());
  if (lifecycle_->models() > 0) return {};
  const RepositoryOptions& repository = options_.repository;
  if (!repository.store.empty() || repository.allow_missing_for > Millis(0)) {
    LogEvent(LogLevel::kWarn, "no_models",
             repository.allow_missing_for > Millis(0)
                 ? "there is no model yet: requests wait for theirs (repository.allow_missing_for)"
                 : "there is no model yet: requests become dead letters until an event promotes "
                   "theirs; set repository.allow_missing_for to let them wait");
    return {};
  }
  return {StatusCode::kConfiguration, "the repository '" + options_.repository.dir +
                                          "' holds no model; expected DIR/<model_id>/"
                                          "<version>/model.onnx. A worker whose models come by "
                                          "events needs repository.store"};
}

Result<WorkerLog> WorkerHost::OpenWorkerLog(Millis patience, const LogMemory& memory) {
  const MonoTime deadline = SystemClock().Now() + patience;
  const TransportOptions& transport = options_.transport;
  LogLimiter away(Millis(5'000));
  while (true) {
    Result<WorkerLog> log =
        log_.OpenWorker({.group = transport.group,
                         .topics = transport.topics,
                         .mode = options_.delivery.mode,
                         .transaction_timeout = options_.delivery.transaction_timeout,
                         .memory = memory});
    if (log.status().code() != StatusCode::kUnavailable) return log;
    if (stop_requested_.load()) {
      return Status(StatusCode::kCancelled, "stopped while waiting for the log");
    }
    if (SystemClock().Now() + kLogRetry > deadline) return log;
    LogEvery(away, LogLevel::kWarn, "log_unavailable", "waiting for the log",
             {{"error", log.status()}});
    std::this_thread::sleep_for(kLogRetry);
  }
}

void WorkerHost::RequestStop() {
  stop_requested_.store(true);
  if (ModelLifecycle* const models = published_lifecycle_.load(); models != nullptr) {
    models->Cancel();
  }
  if (Worker* const running = worker(); running != nullptr) running->RequestStop();
}

Status WorkerHost::Wait() {
  if (worker_ == nullptr) return Status::Ok();
  Status status = worker_->Wait();
  if (lifecycle_ != nullptr) lifecycle_->Stop();
  shadow_.Stop();
  return status;
}

// Alive as long as the admin thread answers and no run is beyond our reach: a restart would not
// mend an outage.
HealthReport WorkerHost::Live() {
  constexpr Nanos kStuck = Millis(30'000);
  const Worker* const running = worker();
  const bool stuck = running != nullptr && running->run_overdue() > kStuck;
  return HealthReport{
      {HealthCheck{"process", true, ""},
       HealthCheck{"runs", !stuck,
                   stuck ? "a run of a model ignores its time limit; only a restart "
                           "ends it"
                         : ""}}};
}

HealthReport WorkerHost::Ready() {
  const Worker* const running = worker();
  HealthReport report;
  const bool ready = running != nullptr && running->state() == WorkerState::kReady;
  report.checks.push_back(HealthCheck{"models_loaded", running != nullptr,
                                      running != nullptr ? "" : "models are being loaded"});
  report.checks.push_back(HealthCheck{
      "worker", ready, running != nullptr ? WorkerStateName(running->state()) : "starting"});
  const bool healthy = running != nullptr && running->log_healthy();
  report.checks.push_back(
      HealthCheck{"log", healthy, healthy ? "" : "the log cannot be read or written; see the log"});
  return report;
}

HealthReport WorkerHost::Startup() {
  const bool started = was_ready_.load(std::memory_order_acquire);
  return HealthReport{{HealthCheck{"started", started, started ? "" : "not ready yet"}}};
}

std::vector<PartitionStatus> WorkerHost::CachedPartitions() {
  Worker* const running = worker();
  if (running == nullptr || running->state() != WorkerState::kReady) return {};
  const std::lock_guard lock(mutex_);
  const MonoTime now = SystemClock().Now();
  if (partitions_.empty() || now - partitions_at_ > kPartitionsCache) {
    Result<std::vector<PartitionStatus>> fresh = running->Partitions();
    if (fresh.ok()) partitions_ = std::move(fresh).value();
    partitions_at_ = now;
  }
  return partitions_;
}

void WorkerHost::CollectLag(SampleSink& sink) {
  const std::string& topic = options_.transport.topics.requests;
  const WallMillis now = SystemClock().WallNow();
  for (const PartitionStatus& partition : CachedPartitions()) {
    const Labels labels = {{"topic", topic}, {"partition", std::to_string(partition.partition)}};
    sink.AddGauge("millrace_consumer_lag_records",
                  "Records committed to the partition and not yet answered.", labels,
                  static_cast<double>(partition.lag()));
    const bool waits = partition.lag() > 0 && partition.oldest_uncommitted > 0;
    const double seconds =
        waits ? static_cast<double>(std::max<WallMillis>(0, now - partition.oldest_uncommitted)) /
                    1000.0
              : 0.0;
    sink.AddGauge("millrace_consumer_lag_seconds",
                  "Age of the oldest record that is not yet answered.", labels, seconds);
  }
  Worker* const running = worker();
  if (running == nullptr) return;
  std::map<std::string, std::size_t> waiting;  // By model: of all its versions.
  for (const auto& model : running->models().versions()) {
    waiting[model->ref().model_id] += running->waiting(model->slot);
  }
  for (const auto& [id, rows] : waiting) {
    sink.AddGauge("millrace_queue_rows", "Rows waiting for a batch.", {{"model", id}},
                  static_cast<double>(rows));
  }
  const LedgerTotals totals = running->totals();
  sink.AddGauge("millrace_in_flight_records", "Records read and not yet committed.", {},
                static_cast<double>(totals.in_flight_records));
  sink.AddGauge("millrace_in_flight_bytes", "Bytes of records read and not yet committed.", {},
                static_cast<double>(totals.in_flight_bytes));
}

void WorkerHost::CollectMemory(SampleSink& sink) {
  if (const Worker* const running = worker(); running != nullptr) {
    memory_.Collect(running->memory(), sink);
  }
}

std::string WorkerHost::MetricsText() { return PrometheusText(registry_.Collect()); }

std::string WorkerHost::StatusJson() {
  const double uptime = std::chrono::duration<double>(SystemClock().Now() - started_).count();
  return status_.Json(worker(), CachedPartitions(), memory_, uptime);
}

}  // namespace millrace
