// How elements of an output are written as JSON: what the encoders of whole outputs and of mapped
// fields share.
//
// Pure functions; private to the codec. They write where the caller has claimed enough.
#pragma once

#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

#include "codec/text.h"
#include "types/element_type.h"
#include "types/failure.h"

namespace millrace {

// The longest text of any number and the comma behind it: "-2.2250738585072014e-308,".
inline constexpr std::size_t kMaxNumberBytes = 26;

inline char* Write(std::string_view text, char* out) {
  // Null views are empty, and memcpy wants no null.
  if (!text.empty()) std::memcpy(out, text.data(), text.size());
  return out + text.size();
}

// A literal: its length is known, and copying it needs no call.
template <std::size_t kSize>
[[gnu::always_inline]] inline char* Write(const char (&text)[kSize], char* out) {
  std::memcpy(out, text, kSize - 1);
  return out + kSize - 1;
}

template <class T>
char* WriteElement(T number, char* out, bool* non_finite) {
  if constexpr (kIsText<T>) {
    *out++ = '"';
    out = WriteEscaped(number, out);
    *out++ = '"';
    return out;
  } else if constexpr (std::is_same_v<T, Float16>) {
    return WriteElement(ToFloat(number), out, non_finite);
  } else if constexpr (std::is_same_v<T, bool>) {
    return Write(std::string_view(number ? "true" : "false"), out);
  } else {
    if constexpr (std::is_floating_point_v<T>) {
      if (!std::isfinite(number)) [[unlikely]] {
        *non_finite = true;
        return Write("null", out);
      }
    }
    return std::to_chars(out, out + kMaxNumberBytes, number).ptr;
  }
}

template <class T>
char* WriteFlat(const T* numbers, std::size_t count, char* out, bool* non_finite) {
  *out++ = '[';
  for (std::size_t i = 0; i < count; ++i) {
    if (i > 0) *out++ = ',';
    out = WriteElement(numbers[i], out, non_finite);
  }
  *out++ = ']';
  return out;
}

// Arrays in arrays as `shape` from `dim` on says; no dimension is left: a plain number.
template <class T>
char* WriteNested(const T* numbers, const std::vector<std::int64_t>& shape, std::size_t dim,
                  char* out, bool* non_finite) {
  if (dim == shape.size()) return WriteElement(*numbers, out, non_finite);
  const auto count = static_cast<std::size_t>(shape[dim]);
  if (dim + 1 == shape.size()) return WriteFlat(numbers, count, out, non_finite);
  std::size_t stride = 1;
  for (std::size_t d = dim + 1; d < shape.size(); ++d) stride *= static_cast<std::size_t>(shape[d]);
  *out++ = '[';
  for (std::size_t i = 0; i < count; ++i) {
    if (i > 0) *out++ = ',';
    out = WriteNested(numbers + i * stride, shape, dim + 1, out, non_finite);
  }
  *out++ = ']';
  return out;
}

// Brackets and commas between arrays that WriteNested writes for one row.
inline std::size_t BracketBytes(const std::vector<std::int64_t>& shape) {
  std::size_t arrays = 1;
  std::size_t bytes = 3;
  for (std::size_t d = 0; d + 1 < shape.size(); ++d) {
    arrays *= static_cast<std::size_t>(shape[d]);
    bytes += 3 * arrays;
  }
  return bytes;
}

// Whether `texts`, of a row of output `name`, can be written; adds their sizes to `bytes`. The
// first of them is element `first` of the row.
std::optional<Failure> CheckTexts(std::string_view name, std::span<const std::string_view> texts,
                                  std::size_t first, std::size_t max_bytes, std::size_t* bytes);

}  // namespace millrace
