#include "telemetry/prometheus_text.h"

#include <fmt/format.h>

#include <cmath>
#include <iterator>
#include <limits>

namespace millrace {
namespace {

std::string_view TypeName(MetricType type) {
  switch (type) {
    case MetricType::kCounter:
      return "counter";
    case MetricType::kGauge:
      return "gauge";
    case MetricType::kHistogram:
      return "histogram";
  }
  return "untyped";
}

void AppendEscaped(std::string& out, std::string_view text, bool quotes) {
  for (const char c : text) {
    if (c == '\\') {
      out += "\\\\";
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '"' && quotes) {
      out += "\\\"";
    } else {
      out += c;
    }
  }
}

void AppendNumber(std::string& out, double value) {
  if (std::isnan(value)) {
    out += "NaN";
  } else if (std::isinf(value)) {
    out += value > 0 ? "+Inf" : "-Inf";
  } else if (value == std::floor(value) && std::abs(value) < 0x1p53) {
    fmt::format_to(std::back_inserter(out), "{}", static_cast<long long>(value));
  } else {
    fmt::format_to(std::back_inserter(out), "{}", value);
  }
}

// Prometheus 3 reads a bound as a float and shows it as one, so a whole number gets its ".0" here:
// the series keeps one name whoever reads it.
std::string BoundText(double bound) {
  if (std::isinf(bound)) return "+Inf";
  std::string text = fmt::format("{}", bound);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

// `le` is empty for everything but a bucket.
void AppendSeries(std::string& out, std::string_view name, std::string_view suffix,
                  const Labels& labels, std::string_view le) {
  out.append(name).append(suffix);
  if (labels.empty() && le.empty()) return;
  char separator = '{';
  for (const auto& [label, value] : labels) {
    out += separator;
    out.append(label).append("=\"");
    AppendEscaped(out, value, true);
    out += '"';
    separator = ',';
  }
  if (!le.empty()) {
    out += separator;
    out.append("le=\"").append(le).append("\"");
  }
  out += '}';
}

void AppendHistogram(std::string& out, const MetricFamily& family, const MetricSample& sample) {
  for (std::size_t i = 0; i <= family.bounds.size(); ++i) {
    const bool last = i == family.bounds.size();
    const double bound = last ? std::numeric_limits<double>::infinity() : family.bounds[i];
    AppendSeries(out, family.name, "_bucket", sample.labels, BoundText(bound));
    fmt::format_to(std::back_inserter(out), " {}\n", last ? sample.count : sample.bucket_counts[i]);
  }
  AppendSeries(out, family.name, "_sum", sample.labels, {});
  out += ' ';
  AppendNumber(out, sample.sum);
  out += '\n';
  AppendSeries(out, family.name, "_count", sample.labels, {});
  fmt::format_to(std::back_inserter(out), " {}\n", sample.count);
}

}  // namespace

std::string PrometheusText(const std::vector<MetricFamily>& families) {
  std::string out;
  for (const MetricFamily& family : families) {
    if (family.samples.empty()) continue;
    out.append("# HELP ").append(family.name).append(" ");
    AppendEscaped(out, family.help, false);
    out.append("\n# TYPE ").append(family.name).append(" ").append(TypeName(family.type)) += '\n';
    for (const MetricSample& sample : family.samples) {
      if (family.type == MetricType::kHistogram) {
        AppendHistogram(out, family, sample);
        continue;
      }
      AppendSeries(out, family.name, {}, sample.labels, {});
      out += ' ';
      AppendNumber(out, sample.value);
      out += '\n';
    }
  }
  return out;
}

}  // namespace millrace
