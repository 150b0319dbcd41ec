// What an ONNX file holds, looked at before any library parses it.
//
// A model file is data of a stranger's, and a library that loads one follows what it says: to other
// files, to addresses in memory, to sizes that nothing backs. The scan walks over the file in
// protobuf's wire format and refuses what no model that can be served needs: data outside of the
// file, operators of unknown origin, tensors that declare more than they hold, subgraphs and
// functions without end. What it lets pass may still be nonsense; that the library says.
//
// Reads each byte a bounded number of times, and recurses no deeper than OnnxLimits::max_depth and
// kMaxCallDepth. Any bytes are safe to give. Pure; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace millrace {

struct OnnxLimits {
  std::int64_t max_bytes = (std::int64_t{1} << 31) - 1;  // Of the file; protobuf reads no more.
  std::int64_t max_nodes = 1'000'000;  // In all subgraphs, functions counted where they are called.
  int max_depth = 16;                  // Of subgraphs in subgraphs.
  // Of operators, besides those that every ONNX Runtime has.
  std::vector<std::string> domains;
};

// Functions that call functions.
inline constexpr int kMaxCallDepth = 32;
// What a sparse tensor may take once it is written out.
inline constexpr std::int64_t kMaxSparseBytes = std::int64_t{1} << 30;

struct OnnxFacts {
  std::int64_t nodes = 0;
  std::int64_t tensor_bytes = 0;  // Of initializers and constants.
  int depth = 0;
};

// kInvalidArgument with one line that says what is refused. `facts` may be null.
Status ScanOnnx(std::string_view file, const OnnxLimits& limits, OnnxFacts* facts);

// `text` as it may be shown: a name out of a file may hold anything, and be of any length.
std::string ShownName(std::string_view text);

// The words between commas, without blanks; empty ones are left out.
std::vector<std::string> SplitDomains(std::string_view list);

}  // namespace millrace
