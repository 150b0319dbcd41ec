#include "pipeline/worker.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>

#include "base/check.h"
#include "base/crash_point.h"
#include "base/thread_name.h"
#include "telemetry/log.h"

namespace millrace {
namespace {

// CPUs that the cgroup's quota pays for, or a large number without one. cgroup v2, then v1.
double CgroupCpus() {
  std::ifstream v2("/sys/fs/cgroup/cpu.max");
  std::string quota;
  double period = 0;
  if (v2 >> quota >> period && quota != "max" && period > 0) return std::stod(quota) / period;
  std::ifstream v1_quota("/sys/fs/cgroup/cpu/cpu.cfs_quota_us");
  std::ifstream v1_period("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  double micros = 0;
  if (v1_quota >> micros && v1_period >> period && micros > 0 && period > 0) return micros / period;
  return 1e9;
}

DeliveryOptions Resolved(DeliveryOptions delivery, const WorkerLog& log) {
  if (delivery.min_commit_interval < Millis(0)) {
    delivery.min_commit_interval = log.min_commit_interval;
  }
  return delivery;
}

// How often running models are looked at: often enough to end a run within an eighth of its limit
// too late, seldom enough to cost nothing.
Nanos WatchPeriod(const ModelTable& models) {
  constexpr Nanos kShortest = Millis(5);
  constexpr Nanos kLongest = Millis(1'000);
  Nanos period = kLongest;
  for (const auto& model : models.versions()) {
    if (model->run_limit > Millis(0)) period = std::min<Nanos>(period, model->run_limit / 8);
  }
  return std::max(period, kShortest);
}

}  // namespace

int UsableCpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  const int affinity = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  return std::max(1, static_cast<int>(std::min<double>(affinity, std::floor(CgroupCpus()))));
}

int ExecutorThreads(const ExecutorOptions& options) {
  return options.threads > 0 ? static_cast<int>(options.threads) : UsableCpus();
}

const char* WorkerStateName(WorkerState state) {
  switch (state) {
    case WorkerState::kStarting:
      return "starting";
    case WorkerState::kReady:
      return "ready";
    case WorkerState::kDraining:
      return "draining";
    case WorkerState::kStopped:
      return "stopped";
    case WorkerState::kFailed:
      return "failed";
  }
  return "unknown";
}

Worker::Worker(const WorkerOptions& options, const Clock& clock, MetricRegistry& registry,
               WorkerLog log, ModelSeeker* seeker)
    : options_(options),
      clock_(clock),
      log_(std::move(log)),
      probe_(registry, options.topics.requests, options.topics.results, options.topics.dlq),
      blocks_(options.memory.kept_request_bytes),
      chunks_(options.memory.kept_outcome_bytes),
      queue_(clock, static_cast<std::size_t>(options.fairness.max_queue_rows),
             options.fairness.default_weight, options.retry),
      ledger_(Resolved(options.delivery, log_), clock, chunks_,
              {&blocks_, options.memory.in_flight_bytes},
              seeker == nullptr ? nullptr : &seeker->progress()),
      serving_(
          {static_cast<std::size_t>(ExecutorThreads(options.executor)), options.journal != nullptr},
          models_, queue_, probe_,
          [this] {
            if (state() == WorkerState::kReady) log_.source->Wake();
          }),
      parts_{clock,
             options.group,
             options.topics.requests,
             options.delivery,
             options.retry,
             options.limits,
             options.memory.poll_bytes,
             options.allow_missing_for,
             models_,
             seeker,
             probe_,
             blocks_,
             chunks_,
             queue_,
             ledger_,
             options.journal,
             options.shadow},
      intake_(parts_, *log_.source, *log_.committer),
      commits_(parts_, *log_.committer) {
  for (const auto& [id, tenant] : options_.tenants) {
    // Whoever finds no slot of its own shares one, whose weight is not its to set.
    const TenantSlot slot = intake_.AddTenant(id);
    if (slot != TenantTable::kOtherSlot) queue_.SetWeight(slot, tenant.weight);
  }
}

Status Worker::Serve(std::vector<ModelToServe> models) {
  for (ModelToServe& model : models) {
    const std::string id = model.ref().model_id;
    Result<ServedModel*> served = serving_.Add(std::move(model));
    if (!served.ok()) return served.status();
    ModelRoute route;
    route.stable = *served;
    serving_.SetRoute(id, std::move(route));
    probe_.OnModelState(id, (*served)->ref().version, ModelState::kServing);
  }
  return Status::Ok();
}

Worker::~Worker() {
  RequestStop();
  const Status ignored = Wait();
  static_cast<void>(ignored);  // Whoever cared has waited already.
}

Status Worker::Start() {
  const int executors = ExecutorThreads(options_.executor);
  queue_.SetPermits(static_cast<std::size_t>(executors));
  for (int i = 0; i < executors; ++i) {
    executors_.push_back(std::make_unique<Executor>(parts_, static_cast<std::size_t>(i)));
  }
  for (int i = 0; i < executors; ++i) {
    executors_running_.fetch_add(1);
    executor_threads_.emplace_back([this, i] {
      SetThreadName("mr-exec-" + std::to_string(i));
      SetThreadNice(static_cast<int>(options_.executor.nice));
      executors_[static_cast<std::size_t>(i)]->Run();
      executors_running_.fetch_sub(1);
    });
  }
  watch_thread_ = std::thread([this] { WatchRuns(); });
  commit_thread_ = std::thread([this] { RunCommits(); });
  intake_thread_ = std::thread([this] { RunIntake(); });
  std::unique_lock lock(mutex_);
  joined_.wait(lock, [this] { return start_done_; });
  return start_status_;
}

void Worker::RunIntake() {
  SetThreadName("mr-intake");
  const Status started = intake_.Start();
  WorkerState expected = WorkerState::kStarting;
  if (started.ok()) state_.compare_exchange_strong(expected, WorkerState::kReady);
  {
    const std::lock_guard lock(mutex_);
    start_status_ = started;
    start_done_ = true;
  }
  joined_.notify_all();
  if (!started.ok()) {
    Fail(started);
  } else if (const Status status = intake_.Run(); !status.ok()) {
    Fail(status);
  }
  Leave();
}

// Stop intake has happened; drain until the deadline, commit, leave the group.
void Worker::Leave() {
  CrashPoint("shutdown_begin");
  const MonoTime deadline = clock_.Now() + options_.delivery.drain_timeout;
  queue_.Stop();
  const bool drained = ledger_.WaitDrained(deadline, intake_.waiting());
  if (!drained) {
    const LedgerTotals left = ledger_.Totals();
    const bool read_again = options_.delivery.mode != DeliveryMode::kAtMostOnce;
    LogEvent(LogLevel::kWarn, "drain_incomplete",
             read_again
                 ? "left the group before everything read had its outcome; the next worker reads "
                   "it again"
                 : "left the group before everything read had its outcome; with "
                   "delivery.mode=at-most-once nobody reads it again",
             {{"records", std::to_string(left.in_flight_records)}});
    queue_.Abandon();
    commits_.GiveUp();
    abandoned_.store(true);
  }
  CrashPoint("shutdown_drained");
  if (const Status closed = intake_.Close(); !closed.ok()) Fail(closed);
  ledger_.StopCommits();
  // Nothing waits, unless the commits have failed: then nobody is going to commit it.
  queue_.Abandon();
}

void Worker::WatchRuns() {
  SetThreadName("mr-watch");
  constexpr Nanos kIgnored = Millis(5'000);
  LogLimiter ignored(Millis(60'000));
  std::unique_lock lock(mutex_);
  while (!watch_ends_.wait_for(lock, WatchPeriod(models_), [this] { return watch_stop_; })) {
    lock.unlock();
    Nanos overdue(0);
    const MonoTime now = clock_.Now();
    for (const std::unique_ptr<Executor>& executor : executors_) {
      overdue = std::max(overdue, executor->CheckRunTime(now));
    }
    run_overdue_.store(overdue, std::memory_order_relaxed);
    if (overdue > kIgnored) {
      LogEvery(
          ignored, LogLevel::kError, "run_stuck",
          "a run of a model goes on although it was told to end; only a restart of this worker "
          "ends it",
          {{"overdue_ms", std::chrono::duration_cast<Millis>(overdue).count()}});
    }
    lock.lock();
  }
}

void Worker::RunCommits() {
  SetThreadName("mr-commit");
  if (const Status status = commits_.Run(); !status.ok()) {
    Fail(status);
    ledger_.Abandon();
    intake_.Stop();
  }
}

void Worker::Fail(const Status& status) {
  state_.store(WorkerState::kFailed, std::memory_order_release);
  const std::lock_guard lock(mutex_);
  if (failure_.ok()) failure_ = status;
}

void Worker::RequestStop() {
  WorkerState expected = WorkerState::kReady;
  state_.compare_exchange_strong(expected, WorkerState::kDraining);
  commits_.StopBy(clock_.Now() + options_.delivery.drain_timeout);
  intake_.Stop();
}

void Worker::JoinExecutors() {
  constexpr Millis kTerminateAgain{10};
  queue_.Stop();
  while (abandoned_.load() && executors_running_.load() > 0) {
    for (const std::unique_ptr<Executor>& executor : executors_) executor->Abandon();
    std::this_thread::sleep_for(kTerminateAgain);
  }
  for (std::thread& thread : executor_threads_) {
    if (thread.joinable()) thread.join();
  }
  if (watch_thread_.joinable()) {
    {
      const std::lock_guard lock(mutex_);
      watch_stop_ = true;
    }
    watch_ends_.notify_all();
    watch_thread_.join();
  }
}

Status Worker::Wait() {
  if (intake_thread_.joinable()) intake_thread_.join();
  if (commit_thread_.joinable()) commit_thread_.join();
  JoinExecutors();
  const std::lock_guard lock(mutex_);
  if (failure_.ok()) state_.store(WorkerState::kStopped, std::memory_order_release);
  return failure_;
}

Worker::Memory Worker::memory() const {
  return Memory{blocks_.bytes_in_use() + ledger_.Totals().outcome_memory, blocks_.bytes_kept(),
                chunks_.bytes_kept()};
}

Result<std::vector<PartitionStatus>> Worker::Partitions() {
  Result<std::vector<PartitionLag>> lags = log_.source->Lags();
  if (!lags.ok()) return lags.status();
  std::vector<PartitionStatus> partitions;
  for (const PartitionLag& lag : *lags) {
    PartitionStatus status;
    status.partition = lag.partition;
    status.committed = ledger_.CommittedPosition(lag.slot);
    status.end = lag.end;
    status.oldest_uncommitted = lag.oldest_uncommitted;
    partitions.push_back(status);
  }
  return partitions;
}

}  // namespace millrace
