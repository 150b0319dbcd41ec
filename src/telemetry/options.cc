#include "telemetry/options.h"

namespace millrace {

void DescribeSettings(SettingSet& set, TelemetryOptions& options) {
  set.Enum("telemetry.log_level", &options.log_level, {"debug", "info", "warn", "error"},
           "Least severe message that is logged; `debug` says why each unit of work was cut.");
  set.Enum("telemetry.log_format", &options.log_format, {"text", "json"},
           "Shape of a log line on stderr: `text` for people, `json` (one object per line) for "
           "collectors.");
}

}  // namespace millrace
