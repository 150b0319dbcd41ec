// Worker: one member of a consumer group, from its log to its log.
//
// Threads (named as `top -H` shows them):
//   mr-intake   polls, decodes, admits; owns the Source
//   mr-exec-N   takes batches, runs them, encodes outcomes
//   mr-commit   seals and commits units of work; owns the Committer
//   mr-watch    ends runs that take longer than their model allows
// Lifecycle: Start, RequestStop (stop intake, drain until the deadline, commit, leave the group),
// Wait. A worker is used once.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "pipeline/commit_loop.h"
#include "pipeline/dispatch_queue.h"
#include "pipeline/executor.h"
#include "pipeline/intake.h"
#include "pipeline/ledger.h"
#include "pipeline/memory_plan.h"
#include "pipeline/model_table.h"
#include "pipeline/probe.h"
#include "pipeline/serving_set.h"
#include "scheduler/options.h"
#include "transport/log.h"

namespace millrace {

struct WorkerOptions {
  std::string group;
  TopicOptions topics;
  DeliveryOptions delivery;
  WorkerMemory memory;
  RetryOptions retry;
  ExecutorOptions executor;
  FairnessOptions fairness;
  CodecLimits limits;
  std::map<std::string, TenantOptions> tenants;  // By tenant id.
  Millis allow_missing_for{0};
  CrashJournal* journal = nullptr;  // Outlives the worker; null: none is kept.
  Shadow* shadow = nullptr;         // Outlives the worker; null: versions have no shadows.
};

enum class WorkerState : std::uint8_t { kStarting, kReady, kDraining, kStopped, kFailed };
const char* WorkerStateName(WorkerState state);

struct PartitionStatus {
  std::int32_t partition = 0;
  Offset committed;
  Offset end;
  WallMillis oldest_uncommitted = 0;  // 0: nothing waits.
  std::int64_t lag() const { return std::max<std::int64_t>(0, end.value() - committed.value()); }
};

// Executor threads this process may keep busy: the CPUs of its affinity, bounded by its cgroup's
// quota, at least one.
int UsableCpus();
// Executors of a worker with these options.
int ExecutorThreads(const ExecutorOptions& options);

class Worker {
 public:
  // `clock` and `registry` must outlive the worker, and so must `seeker`, which is told of models
  // that requests wait for (WorkerOptions::allow_missing_for); null: nobody is.
  Worker(const WorkerOptions& options, const Clock& clock, MetricRegistry& registry, WorkerLog log,
         ModelSeeker* seeker = nullptr);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // Which versions serve; what is to serve from the first request on is put in before Start.
  ServingSet& serving() { return serving_; }
  // Serves the versions, each as the only one of its model.
  Status Serve(std::vector<ModelToServe> models);

  // Starts the threads; OK once the group is joined.
  Status Start();
  // Begins the graceful end. Any thread, any number of times.
  void RequestStop();
  // Waits for the end; OK when everything read was committed or left for the next worker.
  Status Wait();

  WorkerState state() const { return state_.load(std::memory_order_acquire); }
  // The log can be read and written as far as the last attempts tell.
  bool log_healthy() const { return intake_.log_reachable() && commits_.healthy(); }
  LedgerTotals totals() const { return ledger_.Totals(); }
  // What the worker's buffers hold now; the names are those of the parts of its MemoryPlan.
  struct Memory {
    std::size_t in_flight = 0;
    std::size_t kept_requests = 0;
    std::size_t kept_outcomes = 0;
  };
  Memory memory() const;
  const ModelTable& models() const { return models_; }
  std::size_t assigned_partitions() const { return intake_.assigned_partitions(); }
  std::size_t waiting(ModelSlot model) const { return queue_.waiting(model); }
  bool paused(ModelSlot model) const { return queue_.paused(model); }
  // By how much the slowest run exceeds its time limit although it was told to end; 0: none does.
  Nanos run_overdue() const { return run_overdue_.load(std::memory_order_relaxed); }
  // Committed and end offset of every partition. Does I/O; for a scrape, not for the data plane.
  Result<std::vector<PartitionStatus>> Partitions();

 private:
  void RunIntake();
  void RunCommits();
  void WatchRuns();
  void Fail(const Status& status);
  void Leave();
  void JoinExecutors();

  const WorkerOptions options_;
  const Clock& clock_;
  WorkerLog log_;
  ModelTable models_;
  Probe probe_;
  RequestBlockPool blocks_;
  OutcomeChunkPool chunks_;
  DispatchQueue queue_;
  Ledger ledger_;
  ServingSet serving_;
  WorkerParts parts_;
  Intake intake_;
  CommitLoop commits_;
  std::vector<std::unique_ptr<Executor>> executors_;

  std::atomic<bool> abandoned_{false};  // The drain deadline passed with work left.
  std::atomic<int> executors_running_{0};
  std::atomic<Nanos> run_overdue_{Nanos(0)};
  std::atomic<WorkerState> state_{WorkerState::kStarting};
  std::mutex mutex_;
  std::condition_variable joined_;
  Status start_status_;      // Guarded by mutex_.
  bool start_done_ = false;  // Guarded by mutex_.
  Status failure_;           // Guarded by mutex_: the first one.
  std::condition_variable watch_ends_;
  bool watch_stop_ = false;  // Guarded by mutex_.

  std::vector<std::thread> executor_threads_;
  std::thread commit_thread_;
  std::thread intake_thread_;
  std::thread watch_thread_;
};

}  // namespace millrace
