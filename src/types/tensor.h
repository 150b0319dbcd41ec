// Shapes and types of what goes into a model and comes out of it.
//
// A TensorSpec is what the model declares; a RowLayout is what one request fills: the same tensor
// without its batch dimension. Row-major throughout; element types are the ONNX ones that are
// numbers. Values are copied freely at load time and never on the data plane.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace millrace {

enum class ElementType : std::uint8_t {
  kFloat32,
  kFloat64,
  kInt32,
  kInt64,
  kInt8,
  kUint8,
  kInt16,
  kUint16,
  kUint32,
  kUint64,
  kBool
};

std::size_t ElementBytes(ElementType type);
// As ONNX and the Open Inference Protocol spell it: "FP32", "FP64", "INT32", "INT64", ...
std::string_view ElementTypeName(ElementType type);

inline constexpr std::int64_t kDynamicDim = -1;

struct TensorSpec {
  std::string name;
  ElementType type = ElementType::kFloat32;
  std::vector<std::int64_t> shape;  // Dimension 0 is the batch; kDynamicDim where not fixed.
};

// "[N,30]" with N for a dynamic dimension.
std::string ShapeText(const std::vector<std::int64_t>& shape);

// One row of one input tensor.
struct RowLayout {
  std::string name;
  ElementType type = ElementType::kFloat32;
  std::vector<std::int64_t> row_shape;  // Without the batch dimension; all static.
  std::size_t elements = 0;             // Product of row_shape (1 when empty).
  std::size_t bytes = 0;                // elements * ElementBytes(type).
};

struct ModelSignature {
  std::vector<TensorSpec> inputs;
  std::vector<TensorSpec> outputs;
  // 0: any number of rows in a run. Otherwise the model's own fixed batch dimension.
  std::int64_t fixed_batch = 0;
};

// One output tensor of a finished run, borrowed from the Runner until its next run.
struct OutputView {
  const TensorSpec* spec = nullptr;
  const void* data = nullptr;
  std::size_t elements_per_row = 0;
  std::vector<std::int64_t> row_shape;  // Without the batch dimension.
};

// Identity of a loaded model: what results and dead letters carry.
struct ModelRef {
  std::string model_id;
  std::string version;
  std::string sha256;  // Lower-case hex of the model file.
};

}  // namespace millrace
