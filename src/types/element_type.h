// DispatchElement: from the ElementType of a tensor to the C++ type of its elements, once per
// tensor, so that the loops over elements are compiled per type.
#pragma once

#include <cstdint>
#include <string_view>
#include <type_traits>

#include "base/check.h"
#include "types/float16.h"
#include "types/tensor.h"

namespace millrace {

static_assert(sizeof(bool) == 1, "kBool elements are one byte");
template <class T>
inline constexpr bool kIsText = std::is_same_v<T, std::string_view>;

// `number`, which every type has room for; as text its digits. REQUIRES: 0 <= number <= 9.
template <class T>
T ElementOf(int number) {
  constexpr std::string_view kDigits = "0123456789";
  if constexpr (kIsText<T>) {
    return kDigits.substr(static_cast<std::size_t>(number), 1);
  } else if constexpr (std::is_same_v<T, Float16>) {
    return NearestFloat16(number);
  } else {
    return static_cast<T>(number);
  }
}

// Calls `visit` with a std::type_identity<T> of the element's type.
template <class Visit>
decltype(auto) DispatchElement(ElementType type, Visit&& visit) {
  switch (type) {
    case ElementType::kFloat32:
      return visit(std::type_identity<float>());
    case ElementType::kFloat64:
      return visit(std::type_identity<double>());
    case ElementType::kInt32:
      return visit(std::type_identity<std::int32_t>());
    case ElementType::kInt64:
      return visit(std::type_identity<std::int64_t>());
    case ElementType::kInt8:
      return visit(std::type_identity<std::int8_t>());
    case ElementType::kUint8:
      return visit(std::type_identity<std::uint8_t>());
    case ElementType::kInt16:
      return visit(std::type_identity<std::int16_t>());
    case ElementType::kUint16:
      return visit(std::type_identity<std::uint16_t>());
    case ElementType::kUint32:
      return visit(std::type_identity<std::uint32_t>());
    case ElementType::kUint64:
      return visit(std::type_identity<std::uint64_t>());
    case ElementType::kBool:
      return visit(std::type_identity<bool>());
    case ElementType::kFloat16:
      return visit(std::type_identity<Float16>());
    case ElementType::kString:
      return visit(std::type_identity<std::string_view>());
  }
  CheckFailed("a known ElementType", __FILE__, __LINE__);
}

}  // namespace millrace
