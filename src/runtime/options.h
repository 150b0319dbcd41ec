// Settings of the runtime: where ONNX Runtime is and how a session is made.
#pragma once

#include <cstdint>
#include <string>

#include "base/settings.h"

namespace millrace {

struct RuntimeOptions {
  // Path of libonnxruntime.so; empty: $MILLRACE_ORT_LIBRARY, the binary's folder, the system.
  std::string ort_library;
  // A model that has not run for this long gives back what large batches needed; 0: never.
  Millis idle_shrink{10'000};
};

// What runs a model's graph. All but the CPU need a build of ONNX Runtime that has them.
enum class Provider : std::uint8_t { kCpu, kCuda, kTensorRt };
// As the settings have it: "cpu", "cuda", "tensorrt".
const char* ProviderName(Provider provider);

// What becomes of numbers so small that processors compute with them many times slower.
enum class Denormals : std::uint8_t { kKeep, kFlush };

struct SessionOptions {
  std::int64_t intra_op_threads = 1;  // 1: the executor thread itself, no pool.
  std::int64_t max_rows = 64;         // Largest batch a Runner is asked for.
  Provider provider = Provider::kCpu;
  std::int64_t device = 0;            // Number of the GPU.
  bool require_full_offload = false;  // Refuse a model of which the CPU has to run a part.
  Denormals denormals = Denormals::kKeep;
  std::string mask = {};  // As UseMask has it; empty: none.
};

void DescribeSettings(SettingSet& set, RuntimeOptions& options);

}  // namespace millrace
