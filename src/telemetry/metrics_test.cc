#include "telemetry/metrics.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "telemetry/histogram.h"

namespace millrace {
namespace {

TEST(HistogramBucketTest, EveryValueLiesInItsBucketAndBucketsAdjoin) {
  std::vector<std::uint64_t> values;
  for (std::uint64_t v = 0; v < 5000; ++v) values.push_back(v);
  for (unsigned bit = 0; bit < 64; ++bit) {
    for (std::int64_t d = -2; d <= 2; ++d) {
      values.push_back((std::uint64_t{1} << bit) + static_cast<std::uint64_t>(d));
    }
  }
  for (const std::uint64_t v : values) {
    const std::size_t bucket = HistogramBucket(v);
    ASSERT_LT(bucket, kHistogramBuckets) << v;
    EXPECT_LE(v, HistogramBucketUpper(bucket)) << v;
    if (bucket > 0) {
      EXPECT_GT(v, HistogramBucketLower(bucket)) << v;
    }
  }
  for (std::size_t b = 1; b < kHistogramBuckets; ++b) {
    ASSERT_LT(HistogramBucketLower(b), HistogramBucketUpper(b)) << b;
    ASSERT_EQ(HistogramBucket(HistogramBucketUpper(b)), b);
    const double width =
        static_cast<double>(HistogramBucketUpper(b)) - static_cast<double>(HistogramBucketLower(b));
    if (b > 16) {
      ASSERT_LE(width, static_cast<double>(HistogramBucketLower(b)) / 16 * 1.0001);
    }
  }
}

TEST(HistogramTest, QuantilesAreWithinSixPercentOfSortedSamples) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  std::lognormal_distribution<double> values(13, 2);
  MetricRegistry registry;
  Histogram* histogram = registry.GetHistogram("h_seconds", "h", DurationHistogram());
  std::vector<std::uint64_t> samples;
  double sum = 0;
  for (int i = 0; i < 20'000; ++i) {
    samples.push_back(static_cast<std::uint64_t>(values(random)));
    sum += static_cast<double>(samples.back());
    histogram->Observe(samples.back());
  }
  std::sort(samples.begin(), samples.end());
  const HistogramSnapshot snapshot = histogram->Snapshot();
  EXPECT_EQ(snapshot.count(), samples.size());
  EXPECT_NEAR(snapshot.sum(), sum, sum * 1e-9);
  for (const double q : {0.0, 0.01, 0.25, 0.5, 0.9, 0.99, 0.999, 1.0}) {
    const auto rank = static_cast<std::size_t>(std::ceil(q * static_cast<double>(samples.size())));
    const auto exact = static_cast<double>(samples[rank == 0 ? 0 : rank - 1]);
    EXPECT_NEAR(snapshot.Quantile(q), exact, exact * 0.0625 + 1) << q;
  }
}

TEST(HistogramTest, SmallNumbersAndPowersOfTwoAreExact) {
  MetricRegistry registry;
  Histogram* rows = registry.GetHistogram("rows", "h", RowsHistogram());
  for (std::uint64_t v = 0; v <= 64; ++v) rows->Observe(v);
  rows->ObserveN(65, 1000);
  const std::vector<MetricFamily> families = registry.Collect();
  ASSERT_EQ(families.size(), 1u);
  const MetricSample& sample = families[0].samples.at(0);
  const std::vector<std::uint64_t> first(sample.bucket_counts.begin(),
                                         sample.bucket_counts.begin() + 8);
  EXPECT_EQ(first, (std::vector<std::uint64_t>{2, 3, 5, 9, 17, 33, 65, 1065}));
  EXPECT_EQ(sample.count, 1065u);
  EXPECT_DOUBLE_EQ(sample.sum, 64 * 65 / 2 + 65'000);
}

TEST(HistogramTest, SubtractLeavesTheIntervalAndMergeAddsUp) {
  MetricRegistry registry;
  Histogram* histogram = registry.GetHistogram("h_seconds", "h", DurationHistogram());
  histogram->ObserveN(1'000, 100);
  const HistogramSnapshot earlier = histogram->Snapshot();
  histogram->ObserveN(1'000'000, 10);
  HistogramSnapshot interval = histogram->Snapshot();
  interval.Subtract(earlier);
  EXPECT_EQ(interval.count(), 10u);
  EXPECT_DOUBLE_EQ(interval.sum(), 1e7);
  EXPECT_NEAR(interval.Quantile(0), 1e6, 6.25e4);
  interval.Merge(earlier);
  EXPECT_EQ(interval.counts(), histogram->Snapshot().counts());
  EXPECT_EQ(HistogramSnapshot().Quantile(0.5), 0);
}

TEST(HistogramTest, ExtremeValuesAreKept) {
  MetricRegistry registry;
  Histogram* histogram = registry.GetHistogram("h_seconds", "h", DurationHistogram());
  histogram->Observe(0);
  histogram->Observe(std::numeric_limits<std::uint64_t>::max());
  const HistogramSnapshot snapshot = histogram->Snapshot();
  EXPECT_EQ(snapshot.count(), 2u);
  EXPECT_EQ(snapshot.counts().front(), 1u);
  EXPECT_EQ(snapshot.counts().back(), 1u);
  const std::vector<double> bounds = {-1, 0, 1, 1e30};
  EXPECT_EQ(snapshot.CountsAtMost(bounds), (std::vector<std::uint64_t>{0, 1, 1, 2}));
}

TEST(MetricsTest, ConcurrentUpdatesSumExactlyWhileScrapesNeverGoBack) {
  constexpr int kThreads = 8;
  constexpr int kRounds = 4;  // Later rounds take over the shards of threads that ended.
  constexpr std::uint64_t kUpdates = 50'000;
  MetricRegistry registry;
  Counter* counter = registry.GetCounter("c_total", "c");
  Histogram* histogram = registry.GetHistogram("h_seconds", "h", DurationHistogram());
  Gauge* gauge = registry.GetGauge("g", "g");
  std::atomic<bool> done{false};
  std::thread scraper([&] {
    std::uint64_t last = 0;
    do {
      const std::uint64_t now = counter->Value();
      EXPECT_GE(now, last);
      last = now;
      (void)registry.Collect();
    } while (!done.load());
  });
  for (int round = 0; round < kRounds; ++round) {
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        for (std::uint64_t i = 0; i < kUpdates; ++i) {
          counter->Add(2);
          histogram->Observe(i * static_cast<std::uint64_t>(t + 1));
        }
        gauge->Add(1.5);
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
  done = true;
  scraper.join();
  EXPECT_EQ(counter->Value(), 2 * kUpdates * kThreads * kRounds);
  EXPECT_EQ(histogram->Snapshot().count(), kUpdates * kThreads * kRounds);
  EXPECT_DOUBLE_EQ(histogram->Snapshot().sum(), kRounds * 36.0 * kUpdates * (kUpdates - 1) / 2);
  EXPECT_DOUBLE_EQ(gauge->Value(), 1.5 * kThreads * kRounds);
}

TEST(MetricsTest, ThreadsThatEndLeaveTheirShardToTheNext) {
  MetricRegistry registry;
  Counter* counter = registry.GetCounter("c_total", "c");
  const MetricShard* first = nullptr;
  std::thread([&] { counter->Add(), first = &MetricShard::Current(); }).join();
  const MetricShard* second = nullptr;
  std::thread([&] { counter->Add(), second = &MetricShard::Current(); }).join();
  EXPECT_EQ(first, second);
  EXPECT_EQ(counter->Value(), 2u);
}

TEST(MetricsTest, SameNameAndLabelsGiveTheSameMetric) {
  MetricRegistry registry;
  const Labels labels = {{"model", "m"}, {"version", "1"}};
  Counter* counter = registry.GetCounter("c_total", "c", labels);
  EXPECT_EQ(registry.GetCounter("c_total", "other help", labels), counter);
  EXPECT_NE(registry.GetCounter("c_total", "c", {{"model", "m"}, {"version", "2"}}), counter);
  MetricRegistry another;
  EXPECT_NE(another.GetCounter("c_total", "c", labels), counter);
}

TEST(MetricsTest, ANewRegistryStartsAtZero) {
  for (int i = 0; i < 3; ++i) {
    MetricRegistry registry;
    Counter* counter = registry.GetCounter("c_total", "c");
    Histogram* histogram = registry.GetHistogram("h_seconds", "h", DurationHistogram());
    EXPECT_EQ(counter->Value(), 0u);
    EXPECT_EQ(histogram->Snapshot().count(), 0u);
    EXPECT_EQ(histogram->Snapshot().sum(), 0);
    counter->Add(7);
    histogram->Observe(1'234'567);
  }
}

TEST(MetricsTest, BeyondTheLimitSeriesShareOtherAndAreCounted) {
  MetricRegistry registry;
  registry.SetSeriesLimit("tenant_total", 2);
  for (const char* tenant : {"a", "b", "c", "d"}) {
    registry.GetCounter("tenant_total", "t", {{"tenant", tenant}})->Add();
  }
  registry.GetCounter("tenant_total", "t", {{"tenant", "a"}})->Add();
  const std::vector<std::pair<Labels, std::uint64_t>> expected = {
      {{{"tenant", "__other__"}}, 2}, {{{"tenant", "a"}}, 2}, {{{"tenant", "b"}}, 1}};
  EXPECT_EQ(registry.CounterValues("tenant_total"), expected);
  EXPECT_EQ(
      registry.SumCounters("millrace_metric_series_overflow_total", {{"family", "tenant_total"}}),
      2u);
}

TEST(MetricsTest, DefaultLimitHoldsAgainstAFloodOfLabels) {
  MetricRegistry registry;
  for (int i = 0; i < 1500; ++i) {
    registry.GetGauge("g", "g", {{"id", std::to_string(i)}})->Set(i);
  }
  EXPECT_EQ(registry.GaugeValues("g").size(), kDefaultSeriesLimit + 1);
}

TEST(MetricsTest, LabelValuesAreCutAndMadeValidUtf8) {
  MetricRegistry registry;
  registry.GetGauge("g", "g", {{"id", "a\xFFz\xC3\xA4"}})->Set(1);
  EXPECT_EQ(registry.GaugeValues("g")[0].first[0].second, "a?z\xC3\xA4");
  registry.GetGauge("long", "g", {{"id", std::string(255, 'x') + "\xC3\xA4"}})->Set(1);
  EXPECT_EQ(registry.GaugeValues("long")[0].first[0].second, std::string(255, 'x'));
}

TEST(MetricsTest, QueriesPickSeriesByLabels) {
  MetricRegistry registry;
  for (const char* model : {"m", "n"}) {
    for (const char* stage : {"run", "total"}) {
      registry
          .GetHistogram("d_seconds", "d", DurationHistogram(), {{"model", model}, {"stage", stage}})
          ->ObserveN(1000, 5);
      registry.GetCounter("c_total", "c", {{"model", model}, {"stage", stage}})->Add(3);
    }
  }
  EXPECT_EQ(registry.MergeHistograms("d_seconds", {{"stage", "total"}}).count(), 10u);
  EXPECT_EQ(registry.MergeHistograms("d_seconds").count(), 20u);
  EXPECT_EQ(registry.SumCounters("c_total", {{"model", "n"}, {"stage", "run"}}), 3u);
  EXPECT_EQ(registry.SumCounters("missing_total"), 0u);
}

TEST(MetricsTest, CollectorsRunAtEachScrapeUntilTheirHandleDies) {
  MetricRegistry registry;
  int runs = 0;
  {
    const CollectorHandle handle = registry.AddCollector([&](SampleSink& sink) {
      sink.AddGauge("lag", "l", {{"partition", "1"}}, ++runs);
    });
    EXPECT_EQ(registry.Collect().at(0).samples.at(0).value, 1);
    EXPECT_EQ(registry.Collect().at(0).samples.at(0).value, 2);
  }
  EXPECT_TRUE(registry.Collect().empty());
  EXPECT_EQ(runs, 2);
}

TEST(MetricsTest, HandlesMayOutliveTheRegistry) {
  auto registry = std::make_unique<MetricRegistry>();
  CollectorHandle handle = registry->AddCollector([](SampleSink&) {});
  registry.reset();
  handle.Remove();
}

TEST(MetricsDeathTest, ASecondTypeForANameIsADefect) {
  MetricRegistry registry;
  (void)registry.GetCounter("x_total", "x");
  EXPECT_DEATH((void)registry.GetGauge("x_total", "x"), "type");
  EXPECT_DEATH((void)registry.GetCounter("x_total", "x", {{"extra", "1"}}), "label");
  EXPECT_DEATH((void)registry.GetCounter("no spaces", "x"), "IsLegalName");
}

}  // namespace
}  // namespace millrace
