#include "codec/tensor_reader_internal.h"

#include <fmt/format.h>

#include <bit>
#include <iterator>
#include <vector>

#include "codec/dynamic_tensor_reader_internal.h"
#include "codec/text.h"
#include "types/element_type.h"

namespace millrace {

std::string LabelOf(TensorPart part) {
  return part.named ? "inputs." + part.input.name : std::string("input");
}

const char* ThingsOf(const InputLayout& input) {
  return input.type == ElementType::kString ? "strings" : "numbers";
}

std::string ExpectedShape(const InputLayout& input) {
  std::vector<std::int64_t> shape = {kDynamicDim};
  shape.insert(shape.end(), input.row_shape.begin(), input.row_shape.end());
  return ShapeText(shape);
}

bool ExplainElement(StrictJson& json, ondemand::value& value, int depth, TensorPart part,
                    std::size_t index) {
  const std::string_view token = TrimRight(value.raw_json_token());
  const std::string_view type = TypeName(value);
  const bool wants_text = part.input.type == ElementType::kString;
  const bool is_number = type == "a number";
  if (!json.Skip(value, depth)) return false;
  json.Reject(FailureReason::kInvalidValue,
              is_number && !wants_text
                  ? fmt::format("{}[{}] is {}, which is no {}", LabelOf(part), index,
                                Excerpt(token), ElementTypeName(part.input.type))
                  : fmt::format("{}[{}] is {}, expected a {}", LabelOf(part), index, type,
                                wants_text ? "string" : "number"));
  return true;
}

std::string TensorReader::InputList(std::uint64_t but) const {
  std::string list;
  for (std::size_t i = 0; i < layout_.inputs.size(); ++i) {
    if ((but >> i & 1) != 0) continue;
    const InputLayout& input = layout_.inputs[i];
    fmt::format_to(std::back_inserter(list), "{}{} (shape {})", list.empty() ? "" : ", ",
                   Excerpt(input.name), ExpectedShape(input));
  }
  return list;
}

bool TensorReader::ReadPlainInput(PlainJson& json) {
  if (layout_.inputs.size() != 1 || layout_.dynamic) return false;
  const InputLayout& input = layout_.inputs[0];
  return DispatchElement(input.type, [&]<class T>(std::type_identity<T>) {
    if constexpr (kIsText<T>)
      return false;
    else
      return json.ReadArray(input.elements, Elements<T>(input));
  });
}

bool TensorReader::ReadInput(ondemand::value& value) {
  if (layout_.inputs.size() == 1) return ReadTensor(value, 1, {layout_.inputs[0], false});
  json_.Reject(FailureReason::kInvalidShape,
               fmt::format("input is for models of one input, model {} expects `inputs` with {}",
                           Excerpt(model_id_), InputList()));
  return json_.Skip(value, 1);
}

bool TensorReader::ReadNamedInputs(ondemand::value& value) {
  if (value.raw_json_token().front() != '{') {
    json_.Reject(
        FailureReason::kInvalidShape,
        fmt::format("inputs is {}, expected an object with {}", TypeName(value), InputList()));
    return json_.Skip(value, 1);
  }
  std::uint64_t found = 0;  // A bit for each input.
  const bool well_formed = json_.ReadObject(value, 1, [this, &found](ondemand::field& field) {
    if (!json_.PushKey(field)) return false;
    const std::string_view name = json_.last_key();
    for (std::size_t i = 0; i < layout_.inputs.size(); ++i) {
      if (name != layout_.inputs[i].name) continue;
      found |= std::uint64_t{1} << i;
      return ReadTensor(field.value(), 2, {layout_.inputs[i], true});
    }
    // The list is long to make, and there may be very many such names.
    if (!json_.rejected()) {
      json_.Reject(FailureReason::kInvalidShape,
                   fmt::format("inputs has {}, model {} expects exactly {}", Excerpt(name),
                               Excerpt(model_id_), InputList()));
    }
    return json_.Skip(field.value(), 2);
  });
  if (well_formed && static_cast<std::size_t>(std::popcount(found)) < layout_.inputs.size()) {
    json_.Reject(FailureReason::kInvalidShape,
                 fmt::format("inputs lacks {}, which model {} expects", InputList(found),
                             Excerpt(model_id_)));
  }
  return well_formed;
}

bool TensorReader::ReadTensor(ondemand::value& value, int depth, Part part) {
  const InputLayout& input = part.input;
  if (input.dynamic) {
    DynamicTensorReader reader(json_, part, scratch_);
    return reader.Read(value, depth, Elements<RowTensor>(input));
  }
  const std::string_view token = value.raw_json_token();
  if (token.front() != '[') {
    if (part.named && input.row_shape.empty()) {
      return DispatchElement(input.type, [&]<class T>(std::type_identity<T>) {
        return ReadElement(json_, value, depth, part, 0, scratch_.strings, Elements<T>(input));
      });
    }
    json_.Reject(
        FailureReason::kInvalidShape,
        fmt::format("{} is {}, expected an array of {} {} (shape {})", LabelOf(part),
                    TypeName(value), input.elements, ThingsOf(input), ExpectedShape(input)));
    return json_.Skip(value, depth);
  }
  // The opening bracket's token ends where the first element starts.
  const bool nested =
      part.named && input.row_shape.size() > 1 && *(token.data() + token.size()) == '[';
  return DispatchElement(input.type, [&]<class T>(std::type_identity<T>) {
    if (nested) return ReadNested<T>(value, depth, part, 0, 0);
    std::size_t count = 0;
    if (!ReadElements<T>(value, depth, part, 0, input.elements, &count)) return false;
    if (count != input.elements) {
      json_.Reject(
          FailureReason::kInvalidShape,
          fmt::format("{} has {} {}, model {} expects {} (shape {})", LabelOf(part), count,
                      ThingsOf(input), Excerpt(model_id_), input.elements, ExpectedShape(input)));
    }
    return true;
  });
}

// Values of one array to elements [first, first + wanted); counts all that the array has.
template <class T>
bool TensorReader::ReadElements(ondemand::value& value, int depth, Part part, std::size_t first,
                                std::size_t wanted, std::size_t* count) {
  T* const out = Elements<T>(part.input) + first;
  if constexpr (!kIsText<T>) {
    const std::string_view token = value.raw_json_token();
    // Not consumed here, so that the parser steps over the array by itself.
    if (ReadPlainArray(token.data(), json_.end(), wanted, out) != nullptr) [[likely]] {
      *count = wanted;
      return true;
    }
  }
  std::size_t n = 0;
  const bool well_formed = json_.ReadArray(value, depth, [&](ondemand::value& element) {
    const std::size_t i = n++;
    if (i >= wanted) [[unlikely]]
      return json_.Skip(element, depth + 1);
    return ReadElement(json_, element, depth + 1, part, first + i, scratch_.strings, out + i);
  });
  *count = n;
  return well_formed;
}

template <class T>
bool TensorReader::ReadNested(ondemand::value& value, int depth, Part part, std::size_t dim,
                              std::size_t first) {
  const std::vector<std::int64_t>& shape = part.input.row_shape;
  const auto wanted = static_cast<std::size_t>(shape[dim]);
  if (value.raw_json_token().front() != '[') {
    json_.Reject(FailureReason::kInvalidShape,
                 fmt::format("{} has {} in dimension {}, expected an array (shape {})",
                             LabelOf(part), TypeName(value), dim + 1, ExpectedShape(part.input)));
    return json_.Skip(value, depth);
  }
  std::size_t count = 0;
  if (dim + 1 == shape.size()) {
    if (!ReadElements<T>(value, depth, part, first, wanted, &count)) return false;
  } else {
    std::size_t stride = 1;
    for (std::size_t d = dim + 1; d < shape.size(); ++d) {
      stride *= static_cast<std::size_t>(shape[d]);
    }
    const bool well_formed = json_.ReadArray(value, depth, [&](ondemand::value& entry) {
      const std::size_t i = count++;
      return i < wanted ? ReadNested<T>(entry, depth + 1, part, dim + 1, first + i * stride)
                        : json_.Skip(entry, depth + 1);
    });
    if (!well_formed) return false;
  }
  if (count != wanted) {
    json_.Reject(
        FailureReason::kInvalidShape,
        fmt::format("{} has {} entries in dimension {} at element {}, expected {} (shape {})",
                    LabelOf(part), count, dim + 1, first, wanted, ExpectedShape(part.input)));
  }
  return true;
}

void TensorReader::RejectMissing() {
  if (layout_.inputs.size() != 1) {
    json_.Reject(FailureReason::kInvalidShape, fmt::format("inputs is missing, model {} expects {}",
                                                           Excerpt(model_id_), InputList()));
    return;
  }
  const InputLayout& input = layout_.inputs[0];
  json_.Reject(FailureReason::kInvalidShape,
               fmt::format("input is missing, model {} expects {}{} (shape {})", Excerpt(model_id_),
                           input.dynamic ? "" : fmt::format("{} ", input.elements), ThingsOf(input),
                           ExpectedShape(input)));
}

}  // namespace millrace
