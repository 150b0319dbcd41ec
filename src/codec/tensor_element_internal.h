// What TensorReader and DynamicTensorReader share: one element of an input, and what is said of it.
// Private to the codec.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "codec/strict_json_internal.h"
#include "codec/string_scratch.h"
#include "types/element_type.h"
#include "types/tensor.h"

namespace millrace {

// What is being read: an input, and how the request gave it.
struct TensorPart {
  const InputLayout& input;
  bool named = false;
};

// Where what is read goes when it does not go to the row.
struct TensorScratch {
  StringScratch& strings;            // For as long as the request lives.
  std::vector<std::byte>& elements;  // For as long as a tensor is read.
};

std::string LabelOf(TensorPart part);
// "numbers" or "strings".
const char* ThingsOf(const InputLayout& input);
// "[N,?,3]"
std::string ExpectedShape(const InputLayout& input);
// Skips the value and rejects it as element `index`.
bool ExplainElement(StrictJson& json, ondemand::value& value, int depth, TensorPart part,
                    std::size_t index);

// Element `index` of the input; false when the text is malformed.
template <class T>
bool ReadElement(StrictJson& json, ondemand::value& value, int depth, TensorPart part,
                 std::size_t index, StringScratch& strings, T* out) {
  if constexpr (kIsText<T>) {
    if (value.raw_json_token().front() != '"') {
      return ExplainElement(json, value, depth, part, index);
    }
    if (!json.ReadString(value, out)) return false;
    if (!out->empty() && !json.IsInText(*out)) *out = strings.Copy(*out);
    return true;
  } else {
    if (ReadNumber(value, out)) [[likely]]
      return true;
    return ExplainElement(json, value, depth, part, index);
  }
}

}  // namespace millrace
