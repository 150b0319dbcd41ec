// MetricRegistry and its metrics: what the worker counts about itself.
//
// Counter, Gauge and Histogram are made by a registry, which owns them for its whole life; pointers
// stay valid that long. Updating is for the data plane: any thread, no lock, no shared cache line
// (see shard.h), about 3 ns. Making one takes a lock and compares strings: do it at set-up, or once
// per model, never per record. Reading sums over threads and may miss updates of this moment, but
// never counts one twice and never goes backwards. Nothing here throws or logs.
//
// Names follow Prometheus: base units, `_total` on counters. Label values come from outside and so
// their number is bounded: a family has at most kDefaultSeriesLimit series; what comes later
// shares one series with `__other__` as every label value, and
// millrace_metric_series_overflow_total{family} says how often that happened.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "telemetry/histogram.h"
#include "telemetry/shard.h"

namespace millrace {

inline constexpr std::size_t kDefaultSeriesLimit = 1000;
// Longer label values are cut.
inline constexpr std::size_t kMaxLabelValueBytes = 256;
inline constexpr std::string_view kOtherSeries = "__other__";

// Name and value, in the order in which they are shown. Every series of a family has the same
// names.
using Labels = std::vector<std::pair<std::string, std::string>>;

// What one counted unit is. Nanoseconds are exported as seconds; so are billionths of anything
// else, such as a score between 0 and 1.
enum class MetricUnit : std::uint8_t { kOne, kNanoseconds };
constexpr double MetricUnitScale(MetricUnit unit) {
  return unit == MetricUnit::kNanoseconds ? 1e9 : 1.0;
}

class Counter {
 public:
  void Add(std::uint64_t by = 1) { AddToCell(MetricShard::Current().Cell(slot_), by); }
  // In the unit counted, not the unit exported. Takes a lock: not for every record.
  std::uint64_t Value() const { return SumSlot(slot_); }

 private:
  friend class MetricRegistry;
  explicit Counter(MetricSlot slot) : slot_(slot) {}
  MetricSlot slot_;
};

class Gauge {
 public:
  void Set(double value) { value_.store(value, std::memory_order_relaxed); }
  // Threads that add share a cache line: not for every record.
  void Add(double by) { value_.fetch_add(by, std::memory_order_relaxed); }
  double Value() const { return value_.load(std::memory_order_relaxed); }

 private:
  friend class MetricRegistry;
  Gauge() = default;
  std::atomic<double> value_{0};
};

class Histogram {
 public:
  void Observe(std::uint64_t value) { ObserveN(value, 1); }
  // `n` observations of the same value, for the price of one.
  void ObserveN(std::uint64_t value, std::uint64_t n) {
    MetricShard& shard = MetricShard::Current();
    AddToCell(shard.Cell(slot_ + static_cast<MetricSlot>(HistogramBucket(value))), n);
    AddToRealCell(shard.Cell(slot_ + kSumSlot),
                  static_cast<double>(value) * static_cast<double>(n));
  }
  // Takes a lock and copies 8 KiB: about once per second.
  HistogramSnapshot Snapshot() const;

 private:
  friend class MetricRegistry;
  static constexpr std::size_t kSlots = 1024;
  static constexpr MetricSlot kSumSlot = kSlots - 1;
  static_assert(kHistogramBuckets <= kSumSlot);
  explicit Histogram(MetricSlot slot) : slot_(slot) {}
  MetricSlot slot_;
};

struct HistogramOptions {
  MetricUnit unit = MetricUnit::kNanoseconds;
  // The exported `le` bounds in the exported unit, ascending, without +Inf.
  std::vector<double> bounds;
};
// 50 µs to 60 s, for durations.
const HistogramOptions& DurationHistogram();
// 1 to 4096 in powers of two, for rows and records; exact.
const HistogramOptions& RowsHistogram();

enum class MetricType : std::uint8_t { kCounter, kGauge, kHistogram };

struct MetricSample {
  Labels labels;
  double value = 0;                          // Counter and gauge.
  std::vector<std::uint64_t> bucket_counts;  // Histogram: at most bounds[i], not per bucket.
  std::uint64_t count = 0;                   // Histogram.
  double sum = 0;                            // Histogram.
};

struct MetricFamily {
  std::string name;
  std::string help;
  MetricType type = MetricType::kCounter;
  std::vector<double> bounds;  // Histogram.
  std::vector<MetricSample> samples;
};

// Where a collector puts what it knows at the moment of a scrape.
class SampleSink {
 public:
  virtual ~SampleSink() = default;
  virtual void AddCounter(std::string_view name, std::string_view help, Labels labels,
                          double value) = 0;
  virtual void AddGauge(std::string_view name, std::string_view help, Labels labels,
                        double value) = 0;
};

// Runs on the scraping thread, one scrape at a time. Must not block for long, must not touch its
// own handle, and may emit a series once only.
using Collector = std::function<void(SampleSink& sink)>;

// Takes the collector out when it dies, after a scrape in progress has ended: what the collector
// refers to may be destroyed right after. Movable; may outlive the registry.
class [[nodiscard]] CollectorHandle {
 public:
  CollectorHandle() = default;
  explicit CollectorHandle(std::function<void()> remove) : remove_(std::move(remove)) {}
  CollectorHandle(CollectorHandle&& other) noexcept : remove_(std::exchange(other.remove_, {})) {}
  CollectorHandle& operator=(CollectorHandle&& other) noexcept {
    if (this != &other) {
      Remove();
      remove_ = std::exchange(other.remove_, {});
    }
    return *this;
  }
  ~CollectorHandle() { Remove(); }
  void Remove() {
    if (const auto remove = std::exchange(remove_, {})) remove();
  }

 private:
  std::function<void()> remove_;
};

// Thread-safe. Must outlive every update of its metrics.
class MetricRegistry {
 public:
  MetricRegistry();
  ~MetricRegistry();
  MetricRegistry(const MetricRegistry&) = delete;
  MetricRegistry& operator=(const MetricRegistry&) = delete;

  // The metric of this name and these labels, made on first use: the same arguments give the same
  // pointer. `help` and options count at a family's first use only. REQUIRES: a legal name, one
  // type and one list of label names per family, and room in kMetricChunks: enough for eight full
  // families of histograms.
  Counter* GetCounter(std::string_view name, std::string_view help, const Labels& labels = {},
                      MetricUnit unit = MetricUnit::kOne);
  Gauge* GetGauge(std::string_view name, std::string_view help, const Labels& labels = {});
  Histogram* GetHistogram(std::string_view name, std::string_view help,
                          const HistogramOptions& options, const Labels& labels = {});

  // Bounds the series of a family that does not exist yet, `__other__` not counted.
  void SetSeriesLimit(std::string_view name, std::size_t limit);

  CollectorHandle AddCollector(Collector collector);

  // Everything, families by name and series by labels: for a scrape.
  std::vector<MetricFamily> Collect() const;

  // For live lines and pages. `where` picks the series that have all these labels; a family that
  // does not exist counts as empty. Counters are in the unit counted.
  std::uint64_t SumCounters(std::string_view name, const Labels& where = {}) const;
  HistogramSnapshot MergeHistograms(std::string_view name, const Labels& where = {}) const;
  std::vector<std::pair<Labels, std::uint64_t>> CounterValues(std::string_view name) const;
  std::vector<std::pair<Labels, double>> GaugeValues(std::string_view name) const;

 private:
  struct Family;
  struct Series;
  struct State;
  Series* FindOrAdd(std::string_view name, std::string_view help, MetricType type,
                    const HistogramOptions& options, const Labels& labels);
  void CountOverflow(std::string_view name);
  Series* Fill(Series* series, MetricType type);

  std::shared_ptr<State> state_;  // Shared with handles, so that they may outlive the registry.
};

}  // namespace millrace
