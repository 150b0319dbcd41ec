// Shapes and types of what goes into a model and comes out of it.
//
// A TensorSpec is what the model declares; a RowLayout is what one request fills: the same tensors
// without their batch dimension, one after the other. Row-major throughout; element types are the
// ONNX ones that are numbers, and strings. Values are copied freely at load time and never on the
// data plane.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

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
  kBool,
  kFloat16,
  kString  // In memory a std::string_view, whose text lies elsewhere.
};

std::size_t ElementBytes(ElementType type);
// As the Open Inference Protocol spells it: "FP32", "FP64", "INT32", "INT64", ..., "BYTES".
std::string_view ElementTypeName(ElementType type);

inline constexpr std::int64_t kDynamicDim = -1;

struct TensorSpec {
  std::string name;
  ElementType type = ElementType::kFloat32;
  std::vector<std::int64_t> shape;  // Dimension 0 is the batch; kDynamicDim where not fixed.
  // Of the elements of a row, where the model names them.
  std::vector<std::string> labels = {};
  // Of each dimension that is open, what the model calls it; empty: nothing, or none has a name.
  std::vector<std::string> dim_names = {};
};

// Product of the dimensions, 1 when there is none; nothing when one of them is open or the product
// is more than a size can be.
std::optional<std::size_t> ElementCount(std::span<const std::int64_t> shape);
// `shape` with `dim` in the place of every dimension that is open.
std::vector<std::int64_t> ClosedShape(std::vector<std::int64_t> shape, std::int64_t dim);
// What stands for an open dimension where rows are made up to measure with.
inline constexpr std::int64_t kMeasuredDim = 16;

// "[N,30,?]": N for a batch of any size, ? for another dynamic dimension.
std::string ShapeText(const std::vector<std::int64_t>& shape);

// One row of one input tensor.
struct InputLayout {
  std::string name;
  ElementType type = ElementType::kFloat32;
  std::vector<std::int64_t> row_shape;  // Without the batch dimension.
  bool dynamic = false;                 // Some of it is kDynamicDim: each row has its own.
  std::size_t elements = 0;             // Product of row_shape (1 when empty); 0 when dynamic.
  std::size_t bytes = 0;   // In the row: elements * ElementBytes(type), or of a RowTensor.
  std::size_t offset = 0;  // In the row: of the first element, or of the RowTensor.
};

// What a row holds of an input whose shape is its own; both lie elsewhere.
struct RowTensor {
  const std::byte* data = nullptr;      // Aligned to RowLayout::kAlignment.
  const std::int64_t* shape = nullptr;  // As long as the input's row_shape.
  std::size_t elements = 0;             // Product of shape.
};

// What `row` holds of an input whose shape is its own.
inline RowTensor TensorAt(const std::byte* row, const InputLayout& input) {
  RowTensor tensor;
  std::memcpy(&tensor, row + input.offset, sizeof tensor);
  return tensor;
}

// What one request fills: a row of every input.
struct RowLayout {
  // More than any model that was made for people; what a request has given is one bit for each.
  static constexpr std::size_t kMaxInputs = 64;
  // Of the row, and of each input in it: enough for every element type.
  static constexpr std::size_t kAlignment = 8;
  // Dimensions of a row of an input.
  static constexpr std::size_t kMaxRank = 16;

  std::vector<InputLayout> inputs;  // In the model's order.
  std::size_t bytes = 0;            // To the end of the last one.
  bool dynamic = false;             // Some of the inputs are.

  // An open dimension of a row that has the name of an earlier one: in a row both are the same
  // (ONNX IR, "Static tensor shapes": dimension variables).
  struct Tie {
    std::size_t input = 0;
    std::size_t dim = 0;  // In row_shape, as the other one.
    std::size_t as_input = 0;
    std::size_t as_dim = 0;
    std::string name;
  };
  std::vector<Tie> ties;

  // The input that says which places of a row count, and which only pad it (0); nothing: rows of
  // different shapes do not run together. See UseMask.
  std::optional<std::size_t> mask;
};

// REQUIRES: at most RowLayout::kMaxInputs inputs of at most kMaxRank dimensions besides the batch.
RowLayout RowLayoutOf(const std::vector<TensorSpec>& inputs);

struct ModelSignature {
  std::vector<TensorSpec> inputs;  // At least one, at most RowLayout::kMaxInputs.
  std::vector<TensorSpec> outputs;
  // 0: any number of rows in a run. Otherwise the model's own fixed batch dimension.
  std::int64_t fixed_batch = 0;
};

// Has rows of different lengths run together, the shorter ones filled up with zeros: `name` becomes
// the mask of `layout`, which is RowLayoutOf the signature's inputs. kUnsupported, with the reason,
// unless the input is one open dimension of numbers, that dimension is the first, and the only open
// one, of all inputs that have any, and no output has an open one besides the batch.
Status UseMask(const ModelSignature& signature, const std::string& name, RowLayout* layout);

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
