#include "runtime/options.h"

namespace millrace {

void DescribeSettings(SettingSet& set, RuntimeOptions& options) {
  set.String("runtime.ort_library", &options.ort_library,
             "Path of libonnxruntime.so, 1.21 or newer; empty looks at $MILLRACE_ORT_LIBRARY, then "
             "beside the binary, then where the system keeps libraries.");
}

}  // namespace millrace
