#include "app/bench/bench_latency.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/thread_name.h"

namespace millrace {
namespace {

constexpr Millis kLead{50};             // Between the start and the first request.
constexpr Millis kLastAnswers{10'000};  // How long the last results may take.

// A reader of the results topic, noting when each request became visible.
class ResultWatcher {
 public:
  ResultWatcher(std::unique_ptr<Reader> reader, std::uint64_t first, std::size_t count)
      : reader_(std::move(reader)), first_(static_cast<std::int64_t>(first)), seen_at_(count) {}

  void Run() {
    SetThreadName("bench-watcher");
    RecordBatch batch;
    PollLimits limits;
    limits.max_wait = Millis(100);
    while (seen() < seen_at_.size() && !stop_.load(std::memory_order_relaxed)) {
      if (!reader_->Poll(limits, &batch).ok()) return;
      const MonoTime now = SystemClock().Now();
      for (const Record& record : batch.records) {
        const std::int64_t index = BenchLoad::IndexOf(record.key) - first_;
        if (index < 0 || index >= static_cast<std::int64_t>(seen_at_.size())) continue;
        seen_at_[static_cast<std::size_t>(index)] = now;
        seen_.fetch_add(1, std::memory_order_release);
      }
    }
  }
  void Stop() {
    stop_.store(true, std::memory_order_relaxed);
    reader_->Wake();
  }
  // After Run has ended.
  const std::vector<MonoTime>& seen_at() const { return seen_at_; }
  std::size_t seen() const { return seen_.load(std::memory_order_acquire); }

 private:
  std::unique_ptr<Reader> reader_;
  const std::int64_t first_;
  std::vector<MonoTime> seen_at_;
  std::atomic<std::size_t> seen_{0};
  std::atomic<bool> stop_{false};
};

Result<std::unique_ptr<Reader>> ReaderAtEnd(Log& log, const std::string& topic) {
  Result<std::vector<TopicInfo>> topics = log.DescribeTopics({topic});
  if (!topics.ok()) return topics.status();
  std::vector<Reader::Start> starts;
  for (const TopicInfo& info : *topics) {
    for (const PartitionInfo& partition : info.partitions) {
      starts.push_back({{topic, partition.partition}, partition.end});
    }
  }
  Result<std::unique_ptr<Reader>> reader = log.NewReader();
  if (!reader.ok()) return reader.status();
  MILLRACE_RETURN_IF_ERROR((*reader)->Assign(starts));
  return reader;
}

// Due times: request i at start + i / rate.
class Schedule {
 public:
  Schedule(MonoTime start, std::uint64_t rate)
      : start_(start), step_(1'000'000'000 / static_cast<Nanos::rep>(rate)) {}
  MonoTime Due(std::size_t i) const { return start_ + step_ * static_cast<Nanos::rep>(i); }

 private:
  const MonoTime start_;
  const Nanos step_;
};

// What became due while the log took the one before goes with the next.
Status PublishOnTime(Producer& producer, const std::string& topic, const Schedule& schedule,
                     std::uint64_t first, std::size_t count, BenchLoad& load) {
  for (std::size_t i = 0; i < count;) {
    std::this_thread::sleep_until(schedule.Due(i));
    const MonoTime now = SystemClock().Now();
    std::size_t until = i + 1;
    while (until < count && schedule.Due(until) <= now) ++until;
    MILLRACE_RETURN_IF_ERROR(load.Publish(producer, topic, first + i, first + until));
    i = until;
  }
  return Status::Ok();
}

}  // namespace

Status MeasureLatency(Log& log, BenchLoad& load, const AllOptions& options, const BenchPlan& plan,
                      BenchFigures* figures) {
  const std::size_t count = plan.latency_rate * plan.latency_seconds;
  if (count == 0) return Status::Ok();
  const TopicOptions& topics = options.transport.topics;
  Result<std::unique_ptr<Producer>> producer = log.NewProducer();
  if (!producer.ok()) return producer.status();
  Result<std::unique_ptr<Reader>> reader = ReaderAtEnd(log, topics.results);
  if (!reader.ok()) return reader.status();
  ResultWatcher watcher(std::move(reader).value(), plan.requests, count);
  std::thread thread([&watcher] { watcher.Run(); });
  const Schedule schedule(SystemClock().Now() + kLead, plan.latency_rate);
  const Status published =
      PublishOnTime(**producer, topics.requests, schedule, plan.requests, count, load);
  const MonoTime deadline = SystemClock().Now() + kLastAnswers;
  while (published.ok() && watcher.seen() < count && SystemClock().Now() < deadline) {
    std::this_thread::sleep_for(Millis(10));
  }
  watcher.Stop();
  thread.join();
  MILLRACE_RETURN_IF_ERROR(published);
  if (watcher.seen() != count) {
    return Status(StatusCode::kInternal, "the reader saw " + std::to_string(watcher.seen()) +
                                             " of " + std::to_string(count) + " results");
  }
  std::vector<double> millis;
  for (std::size_t i = 0; i < count; ++i) {
    const Nanos late = watcher.seen_at()[i] - schedule.Due(i);
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

}  // namespace millrace
