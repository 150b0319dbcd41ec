#include "codec/tensor_reader_internal.h"

#include <fmt/format.h>

#include <vector>

#include "codec/element_type.h"
#include "codec/text.h"

namespace millrace {
namespace {

std::string ExpectedShape(const RowLayout& layout) {
  std::vector<std::int64_t> shape = {kDynamicDim};
  shape.insert(shape.end(), layout.row_shape.begin(), layout.row_shape.end());
  return ShapeText(shape);
}

}  // namespace

bool TensorReader::ReadPlainInput(PlainJson& json) {
  return DispatchElement(layout_.type, [&]<class T>(std::type_identity<T>) {
    return json.ReadArray(layout_.elements, reinterpret_cast<T*>(row_));
  });
}

bool TensorReader::ReadNamedInputs(ondemand::value& value) {
  if (value.raw_json_token().front() != '{') {
    json_.Reject(FailureReason::kInvalidShape,
                 fmt::format("inputs is {}, expected an object with {}", TypeName(value),
                             Excerpt(layout_.name)));
    return json_.Skip(value, 1);
  }
  bool found = false;
  const bool well_formed = json_.ReadObject(value, 1, [this, &found](ondemand::field& field) {
    if (!json_.PushKey(field)) return false;
    const std::string_view name = json_.last_key();
    if (name == layout_.name) {
      found = true;
      return ReadTensor(field.value(), 2, true);
    }
    json_.Reject(FailureReason::kInvalidShape,
                 fmt::format("inputs has {}, model {} expects exactly {}", Excerpt(name),
                             Excerpt(model_id_), Excerpt(layout_.name)));
    return json_.Skip(field.value(), 2);
  });
  if (well_formed && !found) {
    json_.Reject(FailureReason::kInvalidShape,
                 fmt::format("inputs lacks {}, which model {} expects (shape {})",
                             Excerpt(layout_.name), Excerpt(model_id_), ExpectedShape(layout_)));
  }
  return well_formed;
}

bool TensorReader::ReadTensor(ondemand::value& value, int depth, bool named) {
  const std::string_view token = value.raw_json_token();
  if (token.front() != '[') {
    if (named && layout_.row_shape.empty()) {
      return DispatchElement(layout_.type, [&]<class T>(std::type_identity<T>) {
        return ReadNumber(value, reinterpret_cast<T*>(row_)) ||
               ExplainElement(value, depth, named, 0);
      });
    }
    json_.Reject(
        FailureReason::kInvalidShape,
        fmt::format("{} is {}, expected an array of {} numbers (shape {})", InputLabel(named),
                    TypeName(value), layout_.elements, ExpectedShape(layout_)));
    return json_.Skip(value, depth);
  }
  // The opening bracket's token ends where the first element starts.
  const bool nested =
      named && layout_.row_shape.size() > 1 && *(token.data() + token.size()) == '[';
  return DispatchElement(layout_.type, [&]<class T>(std::type_identity<T>) {
    if (nested) return ReadNested<T>(value, depth, 0, 0);
    std::size_t count = 0;
    if (!ReadNumbers<T>(value, depth, named, 0, layout_.elements, &count)) return false;
    if (count != layout_.elements) {
      json_.Reject(
          FailureReason::kInvalidShape,
          fmt::format("{} has {} numbers, model {} expects {} (shape {})", InputLabel(named), count,
                      Excerpt(model_id_), layout_.elements, ExpectedShape(layout_)));
    }
    return true;
  });
}

// Numbers of one array to row elements [first, first + wanted); counts all that the array has.
template <class T>
bool TensorReader::ReadNumbers(ondemand::value& value, int depth, bool named, std::size_t first,
                               std::size_t wanted, std::size_t* count) {
  T* out = reinterpret_cast<T*>(row_) + first;
  const std::string_view token = value.raw_json_token();
  // Not consumed here, so that the parser steps over the array by itself.
  if (ReadPlainArray(token.data(), json_.end(), wanted, out) != nullptr) [[likely]] {
    *count = wanted;
    return true;
  }
  std::size_t n = 0;
  const bool well_formed = json_.ReadArray(value, depth, [&](ondemand::value& element) {
    const std::size_t i = n++;
    if (i >= wanted) [[unlikely]]
      return json_.Skip(element, depth + 1);
    if (ReadNumber(element, out + i)) [[likely]]
      return true;
    return ExplainElement(element, depth + 1, named, first + i);
  });
  *count = n;
  return well_formed;
}

template <class T>
bool TensorReader::ReadNested(ondemand::value& value, int depth, std::size_t dim,
                              std::size_t first) {
  const std::vector<std::int64_t>& shape = layout_.row_shape;
  const auto wanted = static_cast<std::size_t>(shape[dim]);
  if (value.raw_json_token().front() != '[') {
    json_.Reject(FailureReason::kInvalidShape,
                 fmt::format("{} has {} in dimension {}, expected an array (shape {})",
                             InputLabel(true), TypeName(value), dim + 1, ExpectedShape(layout_)));
    return json_.Skip(value, depth);
  }
  std::size_t count = 0;
  if (dim + 1 == shape.size()) {
    if (!ReadNumbers<T>(value, depth, true, first, wanted, &count)) return false;
  } else {
    std::size_t stride = 1;
    for (std::size_t d = dim + 1; d < shape.size(); ++d) {
      stride *= static_cast<std::size_t>(shape[d]);
    }
    const bool well_formed = json_.ReadArray(value, depth, [&](ondemand::value& part) {
      const std::size_t i = count++;
      return i < wanted ? ReadNested<T>(part, depth + 1, dim + 1, first + i * stride)
                        : json_.Skip(part, depth + 1);
    });
    if (!well_formed) return false;
  }
  if (count != wanted) {
    json_.Reject(
        FailureReason::kInvalidShape,
        fmt::format("{} has {} entries in dimension {} at element {}, expected {} (shape {})",
                    InputLabel(true), count, dim + 1, first, wanted, ExpectedShape(layout_)));
  }
  return true;
}

bool TensorReader::ExplainElement(ondemand::value& value, int depth, bool named,
                                  std::size_t index) {
  const std::string_view token = TrimRight(value.raw_json_token());
  const std::string_view type = TypeName(value);
  const bool is_number = type == "a number";
  if (!json_.Skip(value, depth)) return false;
  json_.Reject(
      FailureReason::kInvalidValue,
      is_number ? fmt::format("{}[{}] is {}, which is no {}", InputLabel(named), index,
                              Excerpt(token), ElementTypeName(layout_.type))
                : fmt::format("{}[{}] is {}, expected a number", InputLabel(named), index, type));
  return true;
}

void TensorReader::RejectMissing() {
  json_.Reject(FailureReason::kInvalidShape,
               fmt::format("input is missing, model {} expects {} numbers (shape {})",
                           Excerpt(model_id_), layout_.elements, ExpectedShape(layout_)));
}

}  // namespace millrace
