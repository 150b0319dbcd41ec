#include "telemetry/prometheus_text.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <sstream>
#include <string>

#include "telemetry/process_metrics.h"

namespace millrace {
namespace {

TEST(PrometheusTextTest, WritesTheFormatToTheByte) {
  MetricRegistry registry;
  registry.GetCounter("a_total", "Back\\slash and\nnewline", {{"k", "q\"b\\n\nx"}})->Add(3);
  registry.GetCounter("busy_seconds_total", "Busy.", {}, MetricUnit::kNanoseconds)
      ->Add(1'500'000'000);
  registry.GetGauge("g", "Gauge.", {{"x", "1"}})->Set(std::nan(""));
  registry.GetGauge("g", "Gauge.", {{"x", "2"}})->Set(-std::numeric_limits<double>::infinity());
  registry.GetGauge("g", "Gauge.", {{"x", "3"}})->Set(0.1);
  Histogram* h = registry.GetHistogram("h_seconds", "Hist.", {MetricUnit::kNanoseconds, {0.5, 1}},
                                       {{"m", "z"}});
  h->Observe(1'000'000);
  h->ObserveN(2'000'000'000, 2);
  EXPECT_EQ(PrometheusText(registry.Collect()),
            "# HELP a_total Back\\\\slash and\\nnewline\n"
            "# TYPE a_total counter\n"
            "a_total{k=\"q\\\"b\\\\n\\nx\"} 3\n"
            "# HELP busy_seconds_total Busy.\n"
            "# TYPE busy_seconds_total counter\n"
            "busy_seconds_total 1.5\n"
            "# HELP g Gauge.\n"
            "# TYPE g gauge\n"
            "g{x=\"1\"} NaN\n"
            "g{x=\"2\"} -Inf\n"
            "g{x=\"3\"} 0.1\n"
            "# HELP h_seconds Hist.\n"
            "# TYPE h_seconds histogram\n"
            "h_seconds_bucket{m=\"z\",le=\"0.5\"} 1\n"
            "h_seconds_bucket{m=\"z\",le=\"1.0\"} 1\n"
            "h_seconds_bucket{m=\"z\",le=\"+Inf\"} 3\n"
            "h_seconds_sum{m=\"z\"} 4.001\n"
            "h_seconds_count{m=\"z\"} 3\n");
}

// What a strict reader of the format objects to; one line per complaint.
std::string Complaints(const std::string& text) {
  std::ostringstream out;
  std::set<std::string> helped, typed, series;
  std::map<std::string, std::pair<double, std::uint64_t>> buckets;  // Series without le: last seen.
  std::map<std::string, std::uint64_t> infinite;
  std::string family;
  if (text.empty() || text.back() != '\n') out << "the last line does not end\n";
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string hash, word, name;
    if (line.rfind("# ", 0) == 0) {
      words >> hash >> word >> name;
      std::set<std::string>& seen = word == "HELP" ? helped : typed;
      if (!seen.insert(name).second) out << "second " << word << " for " << name << '\n';
      if (word == "HELP" && line.size() <= 8 + name.size()) out << "empty HELP: " << line << '\n';
      family = name;
      continue;
    }
    const std::size_t space = line.rfind(' ');
    const std::string id = line.substr(0, space);
    if (!series.insert(id).second) out << "series twice: " << id << '\n';
    if (id.rfind(family, 0) != 0) out << "outside its family: " << line << '\n';
    if (!helped.contains(family) || !typed.contains(family))
      out << "no HELP/TYPE: " << line << '\n';
    const std::size_t le = id.find("le=\"");
    const auto value = static_cast<std::uint64_t>(std::strtod(line.c_str() + space, nullptr));
    if (le != std::string::npos && id.find("_bucket{") != std::string::npos) {
      const double bound = std::strtod(id.c_str() + le + 4, nullptr);
      const std::string key = id.substr(0, le);
      if (const auto last = buckets.find(key); last != buckets.end()) {
        if (bound <= last->second.first) out << "le does not ascend: " << line << '\n';
        if (value < last->second.second) out << "counts fall: " << line << '\n';
      }
      buckets[key] = {bound, value};
      if (std::isinf(bound)) infinite[key.substr(0, key.find("_bucket{"))] += value;
    } else if (id.rfind(family + "_count", 0) == 0) {
      infinite[family] -= value;
    }
  }
  for (const auto& [name, difference] : infinite) {
    if (difference != 0) out << "+Inf is not the count: " << name << '\n';
  }
  return out.str();
}

TEST(PrometheusTextTest, ABusyRegistryPassesAStrictReader) {
  MetricRegistry registry;
  const CollectorHandle process = AddProcessMetrics(registry);
  SetBuildInfo(registry, {"0.1.0", "abc", "none", "none"});
  for (int model = 0; model < 5; ++model) {
    Histogram* histogram =
        registry.GetHistogram("millrace_request_duration_seconds", "Stages.", DurationHistogram(),
                              {{"model", std::to_string(model)}});
    for (std::uint64_t i = 1; i < 4000; ++i) histogram->Observe(i * i * 997);
  }
  const std::string text = PrometheusText(registry.Collect());
  EXPECT_EQ(Complaints(text), "");
  for (const char* name :
       {"\nprocess_cpu_seconds_total ", "\nprocess_resident_memory_bytes ", "\nprocess_open_fds ",
        "\nprocess_max_fds ", "\nprocess_threads ", "\nprocess_start_time_seconds ",
        "\nmillrace_thread_cpu_seconds_total{thread=",
        "millrace_build_info{version=\"0.1.0\",revision=\"abc\",ort=\"none\",librdkafka=\"none\"} "
        "1\n"}) {
    EXPECT_NE(text.find(name), std::string::npos) << name << "\n" << text;
  }
}

TEST(PrometheusTextTest, TheStrictReaderFindsPlantedFaults) {
  EXPECT_NE(Complaints("a 1"), "");
  EXPECT_NE(Complaints("a 1\n"), "");
  EXPECT_NE(Complaints("# HELP a x\n# TYPE a counter\na 1\na 1\n"), "");
  EXPECT_NE(Complaints("# HELP a x\n# TYPE a histogram\na_bucket{le=\"2.0\"} 1\n"
                       "a_bucket{le=\"1.0\"} 1\na_bucket{le=\"+Inf\"} 1\na_count 1\n"),
            "");
  EXPECT_NE(Complaints("# HELP a x\n# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\na_count 2\n"), "");
}

}  // namespace
}  // namespace millrace
