// The Prometheus text exposition format, version 0.0.4. Pure functions; any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "telemetry/metrics.h"

namespace millrace {

inline constexpr std::string_view kPrometheusContentType =
    "text/plain; version=0.0.4; charset=utf-8";

// The families in the order given, each with HELP and TYPE before its samples. A family without
// samples is left out.
std::string PrometheusText(const std::vector<MetricFamily>& families);

}  // namespace millrace
