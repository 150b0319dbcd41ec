#include "telemetry/metrics.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>
#include <optional>

#include "base/check.h"
#include "telemetry/utf8.h"

namespace millrace {

struct MetricRegistry::Series {
  Labels labels;
  std::unique_ptr<Counter> counter;
  std::unique_ptr<Gauge> gauge;
  std::unique_ptr<Histogram> histogram;
};

struct MetricRegistry::Family {
  std::string help;
  MetricType type = MetricType::kCounter;
  HistogramOptions options;
  std::vector<std::string> label_names;
  std::size_t limit = kDefaultSeriesLimit;
  std::map<Labels, std::unique_ptr<Series>> series;
};

struct MetricRegistry::State {
  mutable std::mutex mutex;
  std::map<std::string, Family, std::less<>> families;
  std::map<std::string, std::size_t, std::less<>> limits;

  // Held for the whole run of the collectors. Taken before `mutex`, because a collector may read
  // the registry.
  std::mutex collecting;
  std::uint64_t next_collector = 0;
  std::map<std::uint64_t, Collector> collectors;
};

namespace {

constexpr std::string_view kOverflowName = "millrace_metric_series_overflow_total";
constexpr std::string_view kOverflowHelp =
    "Series that were counted under __other__ because their family is full.";

bool IsLegalName(std::string_view name, bool colon_allowed) {
  const auto legal = [&](char c, bool first) {
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_') return true;
    if (c == ':') return colon_allowed;
    return !first && c >= '0' && c <= '9';
  };
  for (std::size_t i = 0; i < name.size(); ++i) {
    if (!legal(name[i], i == 0)) return false;
  }
  return !name.empty();
}

// A label value as the exposition can carry it: valid UTF-8 of bounded length.
std::string CleanLabelValue(std::string_view value) {
  std::string clean;
  while (!value.empty()) {
    const std::size_t length = Utf8SequenceLength(value);
    if (clean.size() + std::max<std::size_t>(length, 1) > kMaxLabelValueBytes) break;
    clean.append(length == 0 ? std::string_view("?") : value.substr(0, length));
    value.remove_prefix(std::max<std::size_t>(length, 1));
  }
  return clean;
}

bool Matches(const Labels& labels, const Labels& where) {
  return std::all_of(where.begin(), where.end(), [&](const auto& wanted) {
    return std::find(labels.begin(), labels.end(), wanted) != labels.end();
  });
}

std::vector<double> RawBounds(const HistogramOptions& options) {
  std::vector<double> raw;
  raw.reserve(options.bounds.size());
  for (const double bound : options.bounds) {
    // Rounded, because 0.1 s is meant to be exactly 100,000,000 ns.
    raw.push_back(options.unit == MetricUnit::kOne
                      ? bound
                      : std::round(bound * MetricUnitScale(options.unit)));
  }
  return raw;
}

// Collects samples into families by name; the first to name a family says its type and help.
class FamilySink final : public SampleSink {
 public:
  void AddCounter(std::string_view name, std::string_view help, Labels labels,
                  double value) override {
    Add(name, help, MetricType::kCounter, std::move(labels), value);
  }
  void AddGauge(std::string_view name, std::string_view help, Labels labels,
                double value) override {
    Add(name, help, MetricType::kGauge, std::move(labels), value);
  }

  std::map<std::string, MetricFamily, std::less<>> families;

 private:
  void Add(std::string_view name, std::string_view help, MetricType type, Labels labels,
           double value) {
    MILLRACE_CHECK(IsLegalName(name, true));
    auto found = families.find(name);
    if (found == families.end()) {
      MetricFamily family;
      family.name = name;
      family.help = help;
      family.type = type;
      found = families.emplace(std::string(name), std::move(family)).first;
    }
    MILLRACE_CHECK(found->second.type == type);
    for (auto& label : labels) label.second = CleanLabelValue(label.second);
    MetricSample sample;
    sample.labels = std::move(labels);
    sample.value = value;
    found->second.samples.push_back(std::move(sample));
  }
};

}  // namespace

HistogramSnapshot Histogram::Snapshot() const {
  std::vector<std::uint64_t> slots(kSlots, 0);
  SumSlots(slot_, kSlots - kMetricSlotsPerChunk, slots.data());
  // The last chunk holds buckets and the sum, which is not an integer.
  std::vector<std::uint64_t> last(kMetricSlotsPerChunk, 0);
  SumSlots(slot_ + kSlots - kMetricSlotsPerChunk, kMetricSlotsPerChunk, last.data());
  std::copy(last.begin(), last.end() - 1, slots.end() - kMetricSlotsPerChunk);
  slots.resize(kHistogramBuckets);
  return {std::move(slots), SumRealSlot(slot_ + kSumSlot)};
}

const HistogramOptions& DurationHistogram() {
  static const HistogramOptions options = {
      MetricUnit::kNanoseconds,
      {0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1,
       2.5, 5, 10, 30, 60}};
  return options;
}

const HistogramOptions& RowsHistogram() {
  static const HistogramOptions options = {
      MetricUnit::kOne, {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096}};
  return options;
}

MetricRegistry::MetricRegistry() : state_(std::make_shared<State>()) {}

MetricRegistry::~MetricRegistry() {
  {
    const std::scoped_lock lock(state_->collecting);
    state_->collectors.clear();
  }
  const std::scoped_lock lock(state_->mutex);
  for (auto& [name, family] : state_->families) {
    for (auto& [labels, series] : family.series) {
      if (series->counter) ReleaseSlots(series->counter->slot_, 1);
      if (series->histogram) ReleaseSlots(series->histogram->slot_, Histogram::kSlots);
    }
  }
}

MetricRegistry::Series* MetricRegistry::FindOrAdd(std::string_view name, std::string_view help,
                                                  MetricType type, const HistogramOptions& options,
                                                  const Labels& labels) {
  auto found = state_->families.find(name);
  if (found == state_->families.end()) {
    MILLRACE_CHECK(IsLegalName(name, true));
    MILLRACE_CHECK(std::is_sorted(options.bounds.begin(), options.bounds.end()));
    Family family;
    family.help = help;
    family.type = type;
    family.options = options;
    for (const auto& [label, value] : labels) {
      MILLRACE_CHECK(IsLegalName(label, false) && label != "le");
      family.label_names.push_back(label);
    }
    if (const auto limit = state_->limits.find(name); limit != state_->limits.end()) {
      family.limit = limit->second;
    }
    found = state_->families.emplace(std::string(name), std::move(family)).first;
  }
  Family& family = found->second;
  MILLRACE_CHECK(family.type == type);
  MILLRACE_CHECK(std::equal(labels.begin(), labels.end(), family.label_names.begin(),
                            family.label_names.end(),
                            [](const auto& label, const auto& n) { return label.first == n; }));

  Labels clean = labels;
  for (auto& label : clean) label.second = CleanLabelValue(label.second);
  Labels other = labels;
  for (auto& label : other) label.second = kOtherSeries;
  const bool has_other = !labels.empty() && family.series.contains(other);
  if (const auto existing = family.series.find(clean); existing != family.series.end()) {
    return existing->second.get();
  }
  if (!labels.empty() && clean != other && family.series.size() - has_other >= family.limit) {
    if (name != kOverflowName) CountOverflow(name);
    clean = other;
  }
  std::unique_ptr<Series>& series = family.series[clean];
  if (series == nullptr) {
    series = std::make_unique<Series>();
    series->labels = clean;
  }
  return series.get();
}

void MetricRegistry::CountOverflow(std::string_view name) {
  Series* series = FindOrAdd(kOverflowName, kOverflowHelp, MetricType::kCounter, {},
                             {{"family", std::string(name)}});
  Fill(series, MetricType::kCounter)->counter->Add();
}

MetricRegistry::Series* MetricRegistry::Fill(Series* series, MetricType type) {
  MetricSlot slot = 0;
  if (type == MetricType::kCounter && series->counter == nullptr) {
    MILLRACE_CHECK(AllocateSlots(1, &slot));
    series->counter.reset(new Counter(slot));
  } else if (type == MetricType::kGauge && series->gauge == nullptr) {
    series->gauge.reset(new Gauge);
  } else if (type == MetricType::kHistogram && series->histogram == nullptr) {
    MILLRACE_CHECK(AllocateSlots(Histogram::kSlots, &slot));
    series->histogram.reset(new Histogram(slot));
  }
  return series;
}

Counter* MetricRegistry::GetCounter(std::string_view name, std::string_view help,
                                    const Labels& labels, MetricUnit unit) {
  const std::scoped_lock lock(state_->mutex);
  Series* series = FindOrAdd(name, help, MetricType::kCounter, {unit, {}}, labels);
  return Fill(series, MetricType::kCounter)->counter.get();
}

Gauge* MetricRegistry::GetGauge(std::string_view name, std::string_view help,
                                const Labels& labels) {
  const std::scoped_lock lock(state_->mutex);
  Series* series = FindOrAdd(name, help, MetricType::kGauge, {MetricUnit::kOne, {}}, labels);
  return Fill(series, MetricType::kGauge)->gauge.get();
}

Histogram* MetricRegistry::GetHistogram(std::string_view name, std::string_view help,
                                        const HistogramOptions& options, const Labels& labels) {
  const std::scoped_lock lock(state_->mutex);
  Series* series = FindOrAdd(name, help, MetricType::kHistogram, options, labels);
  return Fill(series, MetricType::kHistogram)->histogram.get();
}

void MetricRegistry::SetSeriesLimit(std::string_view name, std::size_t limit) {
  const std::scoped_lock lock(state_->mutex);
  MILLRACE_CHECK(!state_->families.contains(name));
  state_->limits[std::string(name)] = limit;
}

CollectorHandle MetricRegistry::AddCollector(Collector collector) {
  const std::scoped_lock lock(state_->collecting);
  const std::uint64_t id = state_->next_collector++;
  state_->collectors.emplace(id, std::move(collector));
  return CollectorHandle([weak = std::weak_ptr<State>(state_), id] {
    if (const std::shared_ptr<State> state = weak.lock()) {
      const std::scoped_lock removing(state->collecting);
      state->collectors.erase(id);
    }
  });
}

std::vector<MetricFamily> MetricRegistry::Collect() const {
  FamilySink sink;
  {
    const std::scoped_lock lock(state_->mutex);
    for (const auto& [name, family] : state_->families) {
      MetricFamily& out = sink.families[name];
      out.name = name;
      out.help = family.help;
      out.type = family.type;
      out.bounds = family.options.bounds;
      const std::vector<double> raw_bounds = RawBounds(family.options);
      const double scale = MetricUnitScale(family.options.unit);
      for (const auto& [labels, series] : family.series) {
        MetricSample sample;
        sample.labels = labels;
        if (series->counter) {
          sample.value = static_cast<double>(series->counter->Value()) / scale;
        } else if (series->gauge) {
          sample.value = series->gauge->Value();
        } else if (series->histogram) {
          const HistogramSnapshot snapshot = series->histogram->Snapshot();
          sample.bucket_counts = snapshot.CountsAtMost(raw_bounds);
          sample.count = snapshot.count();
          sample.sum = snapshot.sum() / scale;
        }
        out.samples.push_back(std::move(sample));
      }
    }
  }
  {
    const std::scoped_lock lock(state_->collecting);
    for (const auto& [id, collector] : state_->collectors) collector(sink);
  }
  std::vector<MetricFamily> result;
  result.reserve(sink.families.size());
  for (auto& [name, family] : sink.families) {
    std::stable_sort(family.samples.begin(), family.samples.end(),
                     [](const auto& a, const auto& b) { return a.labels < b.labels; });
    result.push_back(std::move(family));
  }
  return result;
}

std::uint64_t MetricRegistry::SumCounters(std::string_view name, const Labels& where) const {
  std::uint64_t sum = 0;
  for (const auto& [labels, value] : CounterValues(name)) {
    if (Matches(labels, where)) sum += value;
  }
  return sum;
}

HistogramSnapshot MetricRegistry::MergeHistograms(std::string_view name,
                                                  const Labels& where) const {
  HistogramSnapshot merged;
  const std::scoped_lock lock(state_->mutex);
  const auto found = state_->families.find(name);
  if (found == state_->families.end()) return merged;
  for (const auto& [labels, series] : found->second.series) {
    if (series->histogram && Matches(labels, where)) merged.Merge(series->histogram->Snapshot());
  }
  return merged;
}

std::vector<std::pair<Labels, std::uint64_t>> MetricRegistry::CounterValues(
    std::string_view name) const {
  std::vector<std::pair<Labels, std::uint64_t>> values;
  const std::scoped_lock lock(state_->mutex);
  const auto found = state_->families.find(name);
  if (found == state_->families.end()) return values;
  for (const auto& [labels, series] : found->second.series) {
    if (series->counter) values.emplace_back(labels, series->counter->Value());
  }
  return values;
}

std::vector<std::pair<Labels, double>> MetricRegistry::GaugeValues(std::string_view name) const {
  std::vector<std::pair<Labels, double>> values;
  const std::scoped_lock lock(state_->mutex);
  const auto found = state_->families.find(name);
  if (found == state_->families.end()) return values;
  for (const auto& [labels, series] : found->second.series) {
    if (series->gauge) values.emplace_back(labels, series->gauge->Value());
  }
  return values;
}

}  // namespace millrace
