// Settings of the runtime: where ONNX Runtime is and how a session is made.
#pragma once

#include <cstdint>
#include <string>

#include "base/settings.h"

namespace millrace {

struct RuntimeOptions {
  // Path of libonnxruntime.so; empty: $MILLRACE_ORT_LIBRARY, the binary's folder, the system.
  std::string ort_library;
};

struct SessionOptions {
  std::int64_t intra_op_threads = 1;  // 1: the executor thread itself, no pool.
  std::int64_t max_rows = 64;         // Largest batch a Runner is asked for.
};

void DescribeSettings(SettingSet& set, RuntimeOptions& options);

}  // namespace millrace
