// Fuzz target: any bytes as a model file. Whatever the scan says is one line of plain characters,
// and what it lets pass keeps the limits that were set.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "models/onnx_scan.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace millrace;
  OnnxLimits limits;
  limits.max_nodes = 1000;
  OnnxFacts facts;
  const Status status = ScanOnnx({reinterpret_cast<const char*>(data), size}, limits, &facts);
  for (const char c : status.message()) {
    if (c < 0x20 || c > 0x7E) std::abort();
  }
  if (status.ok() && (facts.nodes > limits.max_nodes || facts.depth > limits.max_depth)) {
    std::abort();
  }
  return 0;
}
