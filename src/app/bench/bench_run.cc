#include "app/bench/bench_run.h"

#include <atomic>
#include <thread>

#include "app/bench/bench_cpu.h"
#include "app/bench/bench_latency.h"
#include "app/bench/bench_load.h"
#include "app/log_scan.h"
#include "app/worker_host.h"
#include "base/thread_name.h"
#include "runtime/ort_alone.h"

namespace millrace {
namespace {

constexpr Millis kSample{1};
constexpr Millis kStall{60'000};  // No progress for so long is a failure, not a slow machine.
constexpr Millis kOffsetsWait{5'000};

std::uint64_t Answered(WorkerHost& host) {
  return host.registry().SumCounters("millrace_records_produced_total");
}

// Starts `host` on a thread of its own, so that the moment it gets partitions can be seen.
class Starter {
 public:
  explicit Starter(WorkerHost& host) : host_(host) {
    thread_ = std::thread([this] {
      SetThreadName("bench-start");
      status_ = host_.Start();
      cpu_ = ReadOwnCpu();
      done_.store(true, std::memory_order_release);
    });
  }
  ~Starter() {
    if (!thread_.joinable()) return;
    host_.RequestStop();
    thread_.join();
  }
  Starter(const Starter&) = delete;
  Starter& operator=(const Starter&) = delete;

  // When the first partition was assigned.
  Result<MonoTime> WaitAssigned() {
    const MonoTime deadline = SystemClock().Now() + kStall;
    while (host_.worker() == nullptr || host_.worker()->assigned_partitions() == 0) {
      if (done_.load(std::memory_order_acquire) && !status_.ok()) return status_;
      if (SystemClock().Now() > deadline) {
        return Status(StatusCode::kDeadlineExceeded,
                      "the worker was assigned no partition within a minute");
      }
      std::this_thread::sleep_for(kSample);
    }
    return SystemClock().Now();
  }
  Status Join() {
    thread_.join();
    return status_;
  }
  // CPU time of the start itself: sessions of the executors, the first contact with the log.
  Nanos cpu() const { return cpu_; }

 private:
  WorkerHost& host_;
  Status status_;
  Nanos cpu_{0};
  std::atomic<bool> done_{false};
  std::thread thread_;
};

Status WaitAnswered(WorkerHost& host, std::uint64_t wanted) {
  std::uint64_t last = 0;
  MonoTime last_at = SystemClock().Now();
  while (true) {
    const std::uint64_t now = Answered(host);
    if (now >= wanted) return Status::Ok();
    if (now != last) {
      last = now;
      last_at = SystemClock().Now();
    } else if (SystemClock().Now() - last_at > kStall) {
      return Status(StatusCode::kDeadlineExceeded, "the worker answered " + std::to_string(now) +
                                                       " of " + std::to_string(wanted) +
                                                       " requests and then nothing for a minute");
    }
    std::this_thread::sleep_for(kSample);
  }
}

Result<std::int64_t> RecordsHeld(Log& log, const std::string& topic) {
  const auto topics = log.DescribeTopics({topic});
  if (!topics.ok()) return topics.status();
  std::int64_t held = 0;
  for (const TopicInfo& info : *topics) {
    for (const PartitionInfo& partition : info.partitions) {
      held += partition.end.value() - partition.start.value();
    }
  }
  return held;
}

Status Preload(Log& log, const AllOptions& options, const BenchPlan& plan, BenchLoad& load) {
  const std::string& topic = options.transport.topics.requests;
  const Result<std::int64_t> held = RecordsHeld(log, topic);
  if (!held.ok()) return held.status();
  if (*held == static_cast<std::int64_t>(plan.requests)) return Status::Ok();
  if (*held > 0) {
    return Status(StatusCode::kAlreadyExists, "topic " + topic + " holds " + std::to_string(*held) +
                                                  " requests, not the " +
                                                  std::to_string(plan.requests) +
                                                  " asked for: name other topics with --topics");
  }
  Result<std::unique_ptr<Producer>> producer = log.NewProducer();
  if (!producer.ok()) return producer.status();
  return load.Publish(**producer, topic, 0, plan.requests);
}

// The log itself says that every request was committed, not only the worker. Topics of a bench
// begin at offset 0.
Status CheckCommitted(Log& log, const AllOptions& options, std::uint64_t requests) {
  const TransportOptions& transport = options.transport;
  const MonoTime deadline = SystemClock().Now() + kOffsetsWait;
  while (true) {
    const auto positions = CommittedPositions(log, transport.group, transport.topics.requests);
    if (!positions.ok()) return positions.status();
    std::int64_t committed = 0;
    for (const auto& [partition, position] : *positions) committed += position.value();
    if (committed == static_cast<std::int64_t>(requests)) return Status::Ok();
    if (SystemClock().Now() > deadline) {
      return Status(StatusCode::kInternal, "the group's positions cover " +
                                               std::to_string(committed) + " of " +
                                               std::to_string(requests) + " requests");
    }
    std::this_thread::sleep_for(Millis(100));
  }
}

void FillFromMetrics(MetricRegistry& registry, double count, BenchFigures* figures) {
  for (const auto& [labels, nanos] : registry.CounterValues("millrace_stage_seconds_total")) {
    figures->stage_us[labels.front().second] = static_cast<double>(nanos) / 1e3 / count;
  }
  const double executor =
      figures->stage_us["gather"] + figures->stage_us["run"] + figures->stage_us["encode"];
  figures->executor_share_in_engine = executor > 0 ? figures->stage_us["run"] / executor : 0;
  figures->rows_per_batch = registry.MergeHistograms("millrace_batch_rows").Mean();
  figures->records_per_commit = registry.MergeHistograms("millrace_transaction_records").Mean();
  for (const auto& [labels, value] : registry.CounterValues("millrace_transactions_total")) {
    figures->transactions[labels.front().second] = value;
  }
}

// From the first assigned partition of a worker whose models are loaded to its last commit.
Status MeasureThroughput(WorkerHost& host, std::uint64_t requests, BenchFigures* figures) {
  ForgetPeakRss();
  const CpuReading before = ReadCpu();
  const Nanos own_before = ReadOwnCpu();
  Starter starter(host);
  const Result<MonoTime> assigned = starter.WaitAssigned();
  if (!assigned.ok()) return assigned.status();
  MILLRACE_RETURN_IF_ERROR(starter.Join());
  MILLRACE_RETURN_IF_ERROR(WaitAnswered(host, requests));
  const MonoTime answered = SystemClock().Now();
  const CpuReading after = ReadCpu();
  const Nanos own = ReadOwnCpu() - own_before;

  const auto count = static_cast<double>(requests);
  const auto micros = [](Nanos time) { return static_cast<double>(time.count()) / 1e3; };
  figures->seconds = std::chrono::duration<double>(answered - *assigned).count();
  figures->requests = requests;
  figures->requests_per_second = count / figures->seconds;
  const double cpu = micros(after.process - before.process - own - starter.cpu());
  figures->cpu_seconds = cpu / 1e6;
  figures->cpu_us_per_request = cpu / count;
  for (const auto& [kind, time] : after.by_kind) {
    const auto earlier = before.by_kind.find(kind);
    const Nanos spent = time - (earlier == before.by_kind.end() ? Nanos(0) : earlier->second);
    figures->thread_us[kind] = micros(spent) / count;
  }
  figures->max_rss_mib = MaxRssMib();
  FillFromMetrics(host.registry(), count, figures);
  return Status::Ok();
}

}  // namespace

Result<BenchFigures> RunBench(const AllOptions& options, const BenchPlan& plan, Log& log) {
  EngineSet engines(options.runtime);
  Result<std::vector<ModelToServe>> models = LoadModels(engines, options);
  if (!models.ok()) return models.status();
  const auto model =
      std::find_if(models->begin(), models->end(), [&plan](const ModelToServe& candidate) {
        return candidate.ref().model_id == plan.model_id;
      });
  if (model == models->end()) {
    return Status(StatusCode::kNotFound, "model '" + plan.model_id + "' is not in '" +
                                             options.repository.dir +
                                             "'; see `millrace models list`");
  }
  BenchFigures figures;
  const Result<OrtAloneRate> alone =
      MeasureRowsPerSecond(*model->loaded->session, model->policy.max_rows, Millis(1'000));
  if (!alone.ok()) return alone.status();
  figures.engine_rows_per_second = alone->rows_per_second;
  figures.engine_cpu_us_per_row = alone->cpu_us_per_row;

  BenchLoad load(plan.model_id, model->row_layout(), plan.tenants, plan.seed);
  MILLRACE_RETURN_IF_ERROR(Preload(log, options, plan, load));
  WorkerHost host(options, log, std::move(models).value());
  MILLRACE_RETURN_IF_ERROR(MeasureThroughput(host, plan.requests, &figures));
  MILLRACE_RETURN_IF_ERROR(CheckCommitted(log, options, plan.requests));
  MILLRACE_RETURN_IF_ERROR(MeasureLatency(log, load, options, plan, &figures));
  host.RequestStop();
  MILLRACE_RETURN_IF_ERROR(host.Wait());
  if (const auto dead = host.registry().SumCounters("millrace_dead_letters_total"); dead > 0) {
    return Status(StatusCode::kInternal, std::to_string(dead) + " requests became dead letters");
  }
  return figures;
}

}  // namespace millrace
