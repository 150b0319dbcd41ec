// Where ONNX Runtime's own log lines go: a function of the program, or stderr.
//
// Only warnings and worse arrive, one line each. The sink may be called from any thread, also while
// a session is loading; it must not call back into the runtime.
#pragma once

#include <cstdint>
#include <string_view>

namespace millrace {

enum class OrtSeverity : std::uint8_t { kWarning, kError };

using OrtLogSink = void (*)(OrtSeverity severity, std::string_view message);

// Null restores stderr. Any thread, any time.
void SetOrtLogSink(OrtLogSink sink);

// Hands one line to the present sink.
void WriteOrtLog(OrtSeverity severity, std::string_view message);

}  // namespace millrace
