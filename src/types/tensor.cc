#include "types/tensor.h"

#include <algorithm>

#include "base/check.h"

namespace millrace {

std::size_t ElementBytes(ElementType type) {
  switch (type) {
    case ElementType::kBool:
    case ElementType::kInt8:
    case ElementType::kUint8:
      return 1;
    case ElementType::kInt16:
    case ElementType::kUint16:
    case ElementType::kFloat16:
      return 2;
    case ElementType::kFloat32:
    case ElementType::kInt32:
    case ElementType::kUint32:
      return 4;
    case ElementType::kFloat64:
    case ElementType::kInt64:
    case ElementType::kUint64:
      return 8;
    case ElementType::kString:
      return sizeof(std::string_view);
  }
  return 0;
}

std::string_view ElementTypeName(ElementType type) {
  switch (type) {
    case ElementType::kFloat32:
      return "FP32";
    case ElementType::kFloat64:
      return "FP64";
    case ElementType::kInt32:
      return "INT32";
    case ElementType::kInt64:
      return "INT64";
    case ElementType::kInt8:
      return "INT8";
    case ElementType::kUint8:
      return "UINT8";
    case ElementType::kInt16:
      return "INT16";
    case ElementType::kUint16:
      return "UINT16";
    case ElementType::kUint32:
      return "UINT32";
    case ElementType::kUint64:
      return "UINT64";
    case ElementType::kBool:
      return "BOOL";
    case ElementType::kFloat16:
      return "FP16";
    case ElementType::kString:
      return "BYTES";
  }
  return "?";
}

std::optional<std::size_t> ElementCount(std::span<const std::int64_t> shape) {
  std::size_t count = 1;
  for (const std::int64_t dim : shape) {
    if (dim < 0) return std::nullopt;
    if (__builtin_mul_overflow(count, static_cast<std::size_t>(dim), &count)) return std::nullopt;
  }
  return count;
}

std::vector<std::int64_t> ClosedShape(std::vector<std::int64_t> shape, std::int64_t dim) {
  std::replace(shape.begin(), shape.end(), kDynamicDim, dim);
  return shape;
}

RowLayout RowLayoutOf(const std::vector<TensorSpec>& inputs) {
  MILLRACE_CHECK(inputs.size() <= RowLayout::kMaxInputs);
  RowLayout layout;
  for (const TensorSpec& spec : inputs) {
    MILLRACE_CHECK(!spec.shape.empty());
    InputLayout& input = layout.inputs.emplace_back();
    input.name = spec.name;
    input.type = spec.type;
    input.row_shape.assign(spec.shape.begin() + 1, spec.shape.end());
    MILLRACE_CHECK(input.row_shape.size() <= RowLayout::kMaxRank);
    for (const std::int64_t dim : input.row_shape) {
      MILLRACE_CHECK(dim >= 0 || dim == kDynamicDim);
      input.dynamic = input.dynamic || dim == kDynamicDim;
    }
    const std::optional<std::size_t> elements = ElementCount(input.row_shape);
    MILLRACE_CHECK(elements || input.dynamic);
    input.elements = elements.value_or(0);
    input.bytes = input.dynamic ? sizeof(RowTensor) : input.elements * ElementBytes(input.type);
    layout.dynamic = layout.dynamic || input.dynamic;
    constexpr std::size_t kMask = RowLayout::kAlignment - 1;
    input.offset = (layout.bytes + kMask) & ~kMask;
    layout.bytes = input.offset + input.bytes;
  }
  return layout;
}

std::string ShapeText(const std::vector<std::int64_t>& shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) text += ',';
    text += shape[i] != kDynamicDim ? std::to_string(shape[i]) : i == 0 ? "N" : "?";
  }
  return text + "]";
}

}  // namespace millrace
