// LogEvent: the event log of the process, lines for people or JSON lines for machines, on stderr.
//
// An event has a stable name in snake_case (what a search or an alert looks for), a sentence for a
// person, and fields with what the sentence is about. Levels:
//   kError  data is at risk, or a person is needed;
//   kWarn   something is degraded, and handled;
//   kInfo   lifecycle: started, assigned, model loaded, stopped;
//   kDebug  per batch and per unit of work.
// Nothing is ever logged per record, and no secret at any level: settings marked secret, payloads
// and credentials in URLs do not belong in a field. Any thread may log; lines never mix. A line is
// written before LogEvent returns, so the last words of a dying process are not lost; a reader of
// stderr that stops reading therefore stops the thread that logs. Nothing throws.
#pragma once

#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string_view>
#include <type_traits>
#include <variant>

#include "base/clock.h"
#include "base/status.h"
#include "telemetry/options.h"

namespace millrace {

// A longer message or text field is cut, and says so.
inline constexpr std::size_t kMaxLogTextBytes = 4096;

// A key and a value, borrowed for the duration of the call. Keys are snake_case literals other than
// ts, level, event, message and thread.
struct LogField {
  using Value = std::variant<std::int64_t, std::uint64_t, double, bool, std::string_view>;

  LogField(std::string_view k, bool v) : key(k), value(v) {}
  template <std::signed_integral T>
  LogField(std::string_view k, T v) : key(k), value(static_cast<std::int64_t>(v)) {}
  template <std::unsigned_integral T>
  requires(!std::same_as<T, bool>) LogField(std::string_view k, T v)
      : key(k), value(static_cast<std::uint64_t>(v)) {}
  LogField(std::string_view k, double v) : key(k), value(v) {}
  template <class T>
  requires std::convertible_to<const T&, std::string_view> LogField(std::string_view k, const T& v)
      : key(k), value(std::string_view(v)) {}
  // The message alone; the caller keeps the status alive.
  LogField(std::string_view k, const Status& v) : key(k), value(v.message()) {}

  std::string_view key;
  Value value;
};

// Sets level and format. May be called again. Until then: text from kInfo.
void InitLogging(const TelemetryOptions& options);

// Whether a line of this level would be written: asked before dear fields are computed.
bool LogEnabled(LogLevel level);

void LogEvent(LogLevel level, std::string_view event, std::string_view message,
              std::initializer_list<LogField> fields = {});

// Lets one line per interval pass and counts the others, for errors that repeat while a dependency
// is away. One limiter per kind of event, in the object that logs it. Thread-safe.
class LogLimiter {
 public:
  explicit LogLimiter(Nanos interval, const Clock& clock = SystemClock())
      : interval_(interval), clock_(clock) {}
  // How many lines were held back since the last one that passed; nothing when this one is, too.
  std::optional<std::uint64_t> Admit();

 private:
  const Nanos interval_;
  const Clock& clock_;
  std::atomic<std::int64_t> next_{INT64_MIN};  // Nanoseconds of MonoTime.
  std::atomic<std::uint64_t> suppressed_{0};
};

// LogEvent, at most once per the limiter's interval; the line that passes has the field
// `suppressed` when others did not. Lines below the level count for nothing.
void LogEvery(LogLimiter& limiter, LogLevel level, std::string_view event, std::string_view message,
              std::initializer_list<LogField> fields = {});

}  // namespace millrace
