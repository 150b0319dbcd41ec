// Settings of logging.
#pragma once

#include <cstdint>

#include "base/settings.h"

namespace millrace {

enum class LogLevel : std::uint8_t { kDebug, kInfo, kWarn, kError };
enum class LogFormat : std::uint8_t { kText, kJson };

struct TelemetryOptions {
  LogLevel log_level = LogLevel::kInfo;
  LogFormat log_format = LogFormat::kText;
};

void DescribeSettings(SettingSet& set, TelemetryOptions& options);

}  // namespace millrace
