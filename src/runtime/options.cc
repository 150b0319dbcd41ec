#include "runtime/options.h"

namespace millrace {

const char* ProviderName(Provider provider) {
  switch (provider) {
    case Provider::kCpu:
      return "cpu";
    case Provider::kCuda:
      return "cuda";
    case Provider::kTensorRt:
      return "tensorrt";
  }
  return "unknown";
}

void DescribeSettings(SettingSet& set, RuntimeOptions& options) {
  set.String("runtime.ort_library", &options.ort_library,
             "Path of libonnxruntime.so, 1.21 or newer; empty looks at $MILLRACE_ORT_LIBRARY, then "
             "beside the binary, then where the system keeps libraries.");
  set.Duration("runtime.idle_shrink", &options.idle_shrink, Millis(0), Millis(86'400'000),
               "A model that has not run for this long, or up to twice as long, gives back the "
               "memory that its largest batches needed; the next one of such a size asks the "
               "system for it again. 0: never.");
}

}  // namespace millrace
