#include "types/tensor.h"

#include <algorithm>
#include <map>
#include <utility>

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

namespace {

// Which open dimensions of the inputs have a name that an earlier one has, too.
std::vector<RowLayout::Tie> TiesOf(const std::vector<TensorSpec>& inputs) {
  std::vector<RowLayout::Tie> ties;
  std::map<std::string, std::pair<std::size_t, std::size_t>> first;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const std::vector<std::string>& names = inputs[i].dim_names;
    for (std::size_t dim = 1; dim < names.size(); ++dim) {
      if (names[dim].empty() || inputs[i].shape[dim] != kDynamicDim) continue;
      const auto [found, is_new] = first.try_emplace(names[dim], i, dim - 1);
      if (is_new) continue;
      ties.push_back({i, dim - 1, found->second.first, found->second.second, names[dim]});
    }
  }
  return ties;
}

}  // namespace

RowLayout RowLayoutOf(const std::vector<TensorSpec>& inputs) {
  MILLRACE_CHECK(inputs.size() <= RowLayout::kMaxInputs);
  RowLayout layout;
  layout.ties = TiesOf(inputs);
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

Status UseMask(const ModelSignature& signature, const std::string& name, RowLayout* layout) {
  const auto refused = [&name](const std::string& why) {
    return Status(StatusCode::kUnsupported, "'" + name + "' cannot be the mask: " + why);
  };
  const auto found = std::find_if(layout->inputs.begin(), layout->inputs.end(),
                                  [&name](const InputLayout& one) { return one.name == name; });
  if (found == layout->inputs.end()) return refused("the model has no such input");
  if (found->row_shape != std::vector<std::int64_t>{kDynamicDim} ||
      found->type == ElementType::kString) {
    return refused("a mask is numbers of shape [N,?]");
  }
  const auto mask = static_cast<std::size_t>(found - layout->inputs.begin());
  std::vector<RowLayout::Tie> ties;
  for (std::size_t i = 0; i < layout->inputs.size(); ++i) {
    const InputLayout& input = layout->inputs[i];
    if (!input.dynamic) continue;
    const auto open = std::count(input.row_shape.begin(), input.row_shape.end(), kDynamicDim);
    if (open != 1 || input.row_shape[0] != kDynamicDim) {
      return refused("input '" + input.name + "' has more that is open than its length");
    }
    if (i != mask) ties.push_back({i, 0, mask, 0, name});
  }
  for (const TensorSpec& output : signature.outputs) {
    const bool known =
        !output.shape.empty() &&
        std::find(output.shape.begin() + 1, output.shape.end(), kDynamicDim) == output.shape.end();
    if (!known) {
      return refused("output '" + output.name + "' may be as long as the row is with its padding");
    }
  }
  layout->ties = std::move(ties);
  layout->mask = mask;
  return {};
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
