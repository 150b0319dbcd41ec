// What a model declares, and whether this version can run it.
//
// Inside the runtime module only. ReadOrtValues asks the library; CheckSignature decides, knows no
// library and is pure. The names it prints are those of ONNX, so that a user finds them in the tool
// that wrote the model.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "runtime/ort_process.h"
#include "types/tensor.h"

struct OrtSession;

namespace millrace {

enum class OrtValueKind : std::uint8_t { kTensor, kSequenceOrMap, kOther };

// One declared input or output.
struct OrtValueInfo {
  std::string name;
  OrtValueKind kind = OrtValueKind::kTensor;
  std::string type_text;               // "tensor(float)", "seq(map(int64,tensor(float)))"
  std::optional<ElementType> element;  // Nothing when Millrace knows no such elements.
  std::vector<std::int64_t> shape;     // Empty also when the model declares none.
  std::string shape_text;              // "[N,30]", with the model's own names
  std::vector<std::string> dim_names;  // As long as shape; empty where a dimension has none.
};

struct OrtSignatureInfo {
  std::vector<OrtValueInfo> inputs;
  std::vector<OrtValueInfo> outputs;
};

Result<OrtSignatureInfo> ReadOrtValues(const OrtProcess& process, const OrtSession& session);

// kUnsupported with a message that names the input or output, its type and its shape. In a checked
// signature an output's shape is empty when only a run tells it.
Result<ModelSignature> CheckSignature(const OrtSignatureInfo& info);

// Elements of one row when memory for them can be had before the run: all dimensions but the first
// are known and positive, and they are numbers.
std::optional<std::size_t> StaticRowElements(const TensorSpec& spec);

}  // namespace millrace
