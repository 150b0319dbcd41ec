#include "app/bench/bench_run.h"

#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <nlohmann/json.hpp>
#include <thread>

#include "app/bench/bench_load.h"
#include "app/worker_host.h"
#include "base/thread_name.h"
#include "runtime/ort_alone.h"
#include "transport/local/local_log.h"

namespace millrace {
namespace {

constexpr Millis kSample{1};
constexpr Millis kStall{60'000};  // No progress for so long is a failure, not a slow machine.

// CPU time of the worker's threads by kind: "intake", "exec", "commit", ...
std::map<std::string, double> WorkerCpu() {
  std::map<std::string, double> by_kind;
  for (const ThreadCpu& thread : ReadThreadCpu()) {
    if (!thread.name.starts_with("mr-")) continue;
    const std::string kind = thread.name.substr(3, thread.name.find('-', 3) - 3);
    by_kind[kind] += static_cast<double>(thread.cpu.count());
  }
  return by_kind;
}

std::uint64_t Answered(WorkerHost& host) {
  return host.registry().SumCounters("millrace_records_produced_total");
}

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

// From the start of the worker, whose models are loaded already, to the last commit.
Status MeasureThroughput(WorkerHost& host, std::uint64_t requests, BenchFigures* figures) {
  const MonoTime start = SystemClock().Now();
  const auto cpu_before = WorkerCpu();
  MILLRACE_RETURN_IF_ERROR(host.Start());
  MILLRACE_RETURN_IF_ERROR(WaitAnswered(host, requests));
  figures->seconds = std::chrono::duration<double>(SystemClock().Now() - start).count();
  figures->requests = requests;
  const auto count = static_cast<double>(requests);
  figures->requests_per_second = count / figures->seconds;
  double cpu = 0;
  for (const auto& [kind, micros] : WorkerCpu()) {
    const auto earlier = cpu_before.find(kind);
    const double spent = micros - (earlier == cpu_before.end() ? 0 : earlier->second);
    figures->thread_us[kind] = spent / count;
    cpu += spent;
  }
  figures->cpu_seconds = cpu / 1e6;
  figures->cpu_us_per_request = cpu / count;
  for (const auto& [labels, nanos] :
       host.registry().CounterValues("millrace_stage_seconds_total")) {
    figures->stage_us[labels.front().second] = static_cast<double>(nanos) / 1e3 / count;
  }
  const double executor =
      figures->stage_us["gather"] + figures->stage_us["run"] + figures->stage_us["encode"];
  figures->executor_share_in_engine = executor > 0 ? figures->stage_us["run"] / executor : 0;
  figures->rows_per_batch = host.registry().MergeHistograms("millrace_batch_rows").Mean();
  figures->records_per_commit =
      host.registry().MergeHistograms("millrace_transaction_records").Mean();
  return Status::Ok();
}

// An independent reader of the results topic, noting when each request became visible.
class ResultWatcher {
 public:
  ResultWatcher(std::unique_ptr<Reader> reader, std::uint64_t first, std::size_t count)
      : reader_(std::move(reader)), first_(static_cast<std::int64_t>(first)), seen_at_(count) {}

  void Run() {
    SetThreadName("bench-watcher");
    RecordBatch batch;
    PollLimits limits;
    limits.max_wait = Millis(100);
    while (seen_ < seen_at_.size() && !stop_.load(std::memory_order_relaxed)) {
      if (!reader_->Poll(limits, &batch).ok()) return;
      const MonoTime now = SystemClock().Now();
      for (const Record& record : batch.records) {
        const std::int64_t index = BenchLoad::IndexOf(record.key) - first_;
        if (index < 0 || index >= static_cast<std::int64_t>(seen_at_.size())) continue;
        seen_at_[static_cast<std::size_t>(index)] = now;
        ++seen_;
      }
    }
  }
  void Stop() {
    stop_.store(true, std::memory_order_relaxed);
    reader_->Wake();
  }
  const std::vector<MonoTime>& seen_at() const { return seen_at_; }
  std::size_t seen() const { return seen_; }

 private:
  std::unique_ptr<Reader> reader_;
  const std::int64_t first_;
  std::vector<MonoTime> seen_at_;
  std::size_t seen_ = 0;
  std::atomic<bool> stop_{false};
};

Result<std::unique_ptr<Reader>> ReaderAtEnd(Log& log, const std::string& topic) {
  Result<std::vector<TopicInfo>> topics = log.DescribeTopics({});
  if (!topics.ok()) return topics.status();
  std::vector<Reader::Start> starts;
  for (const TopicInfo& info : *topics) {
    if (info.spec.name != topic) continue;
    for (const PartitionInfo& partition : info.partitions) {
      starts.push_back({{topic, partition.partition}, partition.end});
    }
  }
  Result<std::unique_ptr<Reader>> reader = log.NewReader();
  if (!reader.ok()) return reader.status();
  MILLRACE_RETURN_IF_ERROR((*reader)->Assign(starts));
  return reader;
}

// Requests on a fixed schedule, whatever the worker does: a late answer counts in full.
Status MeasureLatency(Log& log, Producer& producer, BenchLoad& load, const AllOptions& options,
                      const BenchPlan& plan, BenchFigures* figures) {
  const std::size_t count = plan.latency_rate * plan.latency_seconds;
  if (count == 0) return Status::Ok();
  Result<std::unique_ptr<Reader>> reader = ReaderAtEnd(log, options.transport.topics.results);
  if (!reader.ok()) return reader.status();
  ResultWatcher watcher(std::move(reader).value(), plan.requests, count);
  std::thread thread([&watcher] { watcher.Run(); });
  const MonoTime start = SystemClock().Now() + Millis(50);
  const Nanos step(1'000'000'000 / static_cast<Nanos::rep>(plan.latency_rate));
  Status status;
  for (std::size_t i = 0; i < count && status.ok(); ++i) {
    std::this_thread::sleep_until(start + step * static_cast<Nanos::rep>(i));
    status = load.Publish(producer, options.transport.topics.requests, plan.requests + i,
                          plan.requests + i + 1);
  }
  std::this_thread::sleep_for(Millis(500));
  watcher.Stop();
  thread.join();
  MILLRACE_RETURN_IF_ERROR(status);
  if (watcher.seen() != count) {
    return Status(StatusCode::kInternal, "the reader saw " + std::to_string(watcher.seen()) +
                                             " of " + std::to_string(count) + " results");
  }
  std::vector<double> millis;
  for (std::size_t i = 0; i < count; ++i) {
    const Nanos late = watcher.seen_at()[i] - (start + step * static_cast<Nanos::rep>(i));
    millis.push_back(std::chrono::duration<double, std::milli>(late).count());
  }
  std::sort(millis.begin(), millis.end());
  const auto quantile = [&](double q) {
    return millis[static_cast<std::size_t>(q * static_cast<double>(millis.size() - 1))];
  };
  figures->p50_ms = quantile(0.50);
  figures->p95_ms = quantile(0.95);
  figures->p99_ms = quantile(0.99);
  return Status::Ok();
}

double MaxRssMib() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024.0;
}

}  // namespace

Result<BenchFigures> RunBench(const AllOptions& options, const BenchPlan& plan,
                              const std::filesystem::path& dir) {
  std::error_code error;
  std::filesystem::remove_all(dir, error);
  std::filesystem::create_directories(dir, error);
  AllOptions bench = options;
  bench.transport.kind = TransportKind::kLocal;
  bench.transport.local.dir = dir.string();
  bench.http.admin_listen.clear();
  Result<std::unique_ptr<Log>> log = OpenLocalLog(bench.transport.local);
  if (!log.ok()) return log.status();
  for (const TopicSpec& spec : ContractTopics(bench.transport.topics, plan.partitions_scale)) {
    MILLRACE_RETURN_IF_ERROR((*log)->CreateTopic(spec));
  }
  EngineSet engines(bench.runtime);
  Result<ModelTable> models = LoadModels(engines, bench);
  if (!models.ok()) return models.status();
  const ServedModel* const model = models->Find(plan.model_id);
  if (model == nullptr) {
    return Status(StatusCode::kNotFound, "model '" + plan.model_id + "' is not in '" +
                                             bench.repository.dir +
                                             "'; see `millrace models list`");
  }
  BenchFigures figures;
  const Result<OrtAloneRate> alone =
      MeasureRowsPerSecond(*model->loaded->session, model->policy.max_rows, Millis(1'000));
  if (!alone.ok()) return alone.status();
  figures.engine_rows_per_second = alone->rows_per_second;
  figures.engine_cpu_us_per_row = alone->cpu_us_per_row;

  BenchLoad load(plan.model_id, model->row_layout(), plan.tenants, plan.seed);
  Result<std::unique_ptr<Producer>> producer = (*log)->NewProducer();
  if (!producer.ok()) return producer.status();
  MILLRACE_RETURN_IF_ERROR(
      load.Publish(**producer, bench.transport.topics.requests, 0, plan.requests));

  WorkerHost host(bench, **log, std::move(models).value());
  MILLRACE_RETURN_IF_ERROR(MeasureThroughput(host, plan.requests, &figures));
  figures.max_rss_mib = MaxRssMib();
  MILLRACE_RETURN_IF_ERROR(MeasureLatency(**log, **producer, load, bench, plan, &figures));
  host.RequestStop();
  MILLRACE_RETURN_IF_ERROR(host.Wait());
  if (const auto dead = host.registry().SumCounters("millrace_dead_letters_total"); dead > 0) {
    return Status(StatusCode::kInternal, std::to_string(dead) + " requests became dead letters");
  }
  return figures;
}

}  // namespace millrace
