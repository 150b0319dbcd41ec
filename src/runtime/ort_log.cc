#include "runtime/ort_log.h"

#include <atomic>
#include <cstdio>

namespace millrace {
namespace {

void WriteToStderr(OrtSeverity severity, std::string_view message) {
  std::fprintf(stderr, "millrace: onnxruntime %s: %.*s\n",
               severity == OrtSeverity::kWarning ? "warning" : "error",
               static_cast<int>(message.size()), message.data());
}

std::atomic<OrtLogSink> g_sink{&WriteToStderr};

}  // namespace

void SetOrtLogSink(OrtLogSink sink) { g_sink.store(sink == nullptr ? &WriteToStderr : sink); }

void WriteOrtLog(OrtSeverity severity, std::string_view message) {
  g_sink.load()(severity, message);
}

}  // namespace millrace
