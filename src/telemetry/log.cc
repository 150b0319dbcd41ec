#include "telemetry/log.h"

#include <fmt/format.h>
#include <pthread.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <array>
#include <cmath>
#include <cstdlib>
#include <ctime>
#include <iterator>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "telemetry/utf8.h"

namespace millrace {
namespace {

std::atomic<LogLevel> log_level{LogLevel::kInfo};
std::atomic<LogFormat> log_format{LogFormat::kText};
std::atomic<bool> log_colour{false};

// Lines arrive finished; spdlog serializes the writers and flushes. Never destroyed: threads may
// log while the process ends.
spdlog::logger& Sink() {
  static spdlog::logger* const logger = [] {
    auto* made = new spdlog::logger("millrace", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made->set_pattern("%v");
    made->set_level(spdlog::level::trace);
    made->flush_on(spdlog::level::trace);
    made->set_error_handler([](const std::string&) {});
    return made;
  }();
  return *logger;
}

std::string_view LevelName(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return "debug";
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kWarn:
      return "warn";
    case LogLevel::kError:
      return "error";
  }
  return "error";
}

// Padded to one width, so that events line up.
std::string_view LevelWord(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return "DEBUG";
    case LogLevel::kInfo:
      return "INFO ";
    case LogLevel::kWarn:
      return "WARN ";
    case LogLevel::kError:
      return "ERROR";
  }
  return "ERROR";
}

std::string_view LevelColour(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return "\x1b[2m";
    case LogLevel::kInfo:
      return "\x1b[32m";
    case LogLevel::kWarn:
      return "\x1b[33m";
    case LogLevel::kError:
      return "\x1b[1;31m";
  }
  return "";
}
constexpr std::string_view kDim = "\x1b[2m";
constexpr std::string_view kPlain = "\x1b[0m";

void AppendTime(std::string& out) {
  const WallMillis now = SystemClock().WallNow();
  const auto seconds = static_cast<std::time_t>(now / 1000);
  std::tm utc = {};
  gmtime_r(&seconds, &utc);
  fmt::format_to(std::back_inserter(out), "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
                 utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min,
                 utc.tm_sec, now % 1000);
}

// Escapes as JSON does, which also keeps a text line on one line and free of terminal codes. Bytes
// that are not UTF-8 become U+FFFD.
void AppendEscaped(std::string& out, std::string_view text) {
  const std::size_t before = out.size();
  while (!text.empty()) {
    if (out.size() - before >= kMaxLogTextBytes) {
      fmt::format_to(std::back_inserter(out), "... ({} bytes cut)", text.size());
      return;
    }
    const auto c = static_cast<unsigned char>(text.front());
    const std::size_t length = Utf8SequenceLength(text);
    if (length == 0) {
      out += "\xEF\xBF\xBD";
    } else if (c == '"' || c == '\\') {
      out += '\\';
      out += text.front();
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (c < 0x20 || c == 0x7F) {
      fmt::format_to(std::back_inserter(out), "\\u{:04x}", c);
    } else {
      out.append(text.substr(0, length));
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
}

void AppendQuoted(std::string& out, std::string_view text) {
  out += '"';
  AppendEscaped(out, text);
  out += '"';
}

bool ReadsAsOneWord(std::string_view text) {
  if (text.empty()) return false;
  for (const char c : text) {
    if (c <= ' ' || c == '"' || c == '\\' || c == '=' || static_cast<unsigned char>(c) >= 0x7F) {
      return false;
    }
  }
  return text.size() <= kMaxLogTextBytes;
}

void AppendValue(std::string& out, const LogField::Value& value, bool json) {
  std::visit(
      [&](const auto& v) {
        using T = std::decay_t<decltype(v)>;
        if constexpr (std::is_same_v<T, std::string_view>) {
          if (!json && ReadsAsOneWord(v)) {
            out.append(v);
          } else {
            AppendQuoted(out, v);
          }
        } else if constexpr (std::is_same_v<T, double>) {
          if (json && !std::isfinite(v)) {
            out += "null";
          } else {
            fmt::format_to(std::back_inserter(out), "{}", v);
          }
        } else {
          fmt::format_to(std::back_inserter(out), "{}", v);
        }
      },
      value);
}

std::string JsonLine(LogLevel level, std::string_view event, std::string_view message,
                     std::span<const LogField> fields) {
  std::string line = "{\"ts\":\"";
  AppendTime(line);
  line.append("\",\"level\":\"").append(LevelName(level)).append("\",\"event\":");
  AppendQuoted(line, event);
  line.append(",\"message\":");
  AppendQuoted(line, message);
  std::array<char, 16> thread = {};
  if (pthread_getname_np(pthread_self(), thread.data(), thread.size()) == 0) {
    line.append(",\"thread\":");
    AppendQuoted(line, thread.data());
  }
  for (const LogField& field : fields) {
    line += ',';
    AppendQuoted(line, field.key);
    line += ':';
    AppendValue(line, field.value, true);
  }
  line += '}';
  return line;
}

std::string TextLine(LogLevel level, std::string_view event, std::string_view message,
                     std::span<const LogField> fields) {
  const bool colour = log_colour.load(std::memory_order_relaxed);
  std::string line;
  if (colour) line.append(kDim);
  AppendTime(line);
  if (colour) line.append(kPlain);
  line += ' ';
  if (colour) line.append(LevelColour(level));
  line.append(LevelWord(level));
  if (colour) line.append(kPlain);
  line += ' ';
  AppendEscaped(line, event);
  line += ' ';
  if (colour) line.append(kDim);
  line.append("| ");
  if (colour) line.append(kPlain);
  AppendEscaped(line, message);
  for (const LogField& field : fields) {
    line += ' ';
    if (colour) line.append(kDim);
    line.append(field.key).append("=");
    if (colour) line.append(kPlain);
    AppendValue(line, field.value, false);
  }
  return line;
}

void Write(LogLevel level, std::string_view event, std::string_view message,
           std::span<const LogField> fields) {
  const bool json = log_format.load(std::memory_order_relaxed) == LogFormat::kJson;
  const std::string line =
      json ? JsonLine(level, event, message, fields) : TextLine(level, event, message, fields);
  Sink().log(spdlog::level::info, spdlog::string_view_t(line.data(), line.size()));
}

}  // namespace

void InitLogging(const TelemetryOptions& options) {
  log_level.store(options.log_level, std::memory_order_relaxed);
  log_format.store(options.log_format, std::memory_order_relaxed);
  const char* no_colour = std::getenv("NO_COLOR");
  log_colour.store(isatty(STDERR_FILENO) == 1 && (no_colour == nullptr || *no_colour == '\0'),
                   std::memory_order_relaxed);
}

bool LogEnabled(LogLevel level) { return level >= log_level.load(std::memory_order_relaxed); }

void LogEvent(LogLevel level, std::string_view event, std::string_view message,
              std::initializer_list<LogField> fields) {
  if (!LogEnabled(level)) return;
  Write(level, event, message, {fields.begin(), fields.size()});
}

std::optional<std::uint64_t> LogLimiter::Admit() {
  const std::int64_t now = clock_.Now().time_since_epoch().count();
  std::int64_t next = next_.load(std::memory_order_relaxed);
  if (now >= next &&
      next_.compare_exchange_strong(next, now + interval_.count(), std::memory_order_relaxed)) {
    return suppressed_.exchange(0, std::memory_order_relaxed);
  }
  suppressed_.fetch_add(1, std::memory_order_relaxed);
  return std::nullopt;
}

void LogEvery(LogLimiter& limiter, LogLevel level, std::string_view event, std::string_view message,
              std::initializer_list<LogField> fields) {
  if (!LogEnabled(level)) return;
  const std::optional<std::uint64_t> suppressed = limiter.Admit();
  if (!suppressed) return;
  std::vector<LogField> all(fields);
  if (*suppressed > 0) all.emplace_back("suppressed", *suppressed);
  Write(level, event, message, all);
}

}  // namespace millrace
