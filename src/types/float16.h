// Float16: a number of IEEE 754 binary16, as models hold it. Only stored and converted.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

namespace millrace {

struct Float16 {
  std::uint16_t bits = 0;

  // What is at least this large is nearer to infinity than to the largest number, 65504.
  static constexpr double kOverflow = 65520;
  friend bool operator==(Float16, Float16) = default;
};

// Exact.
inline float ToFloat(Float16 half) {
  const float sign = (half.bits & 0x8000) != 0 ? -1.0F : 1.0F;
  const int exponent = half.bits >> 10 & 0x1F;
  const int fraction = half.bits & 0x3FF;
  if (exponent == 0) return sign * std::ldexp(static_cast<float>(fraction), -24);
  if (exponent < 0x1F) return sign * std::ldexp(static_cast<float>(1024 + fraction), exponent - 25);
  return fraction == 0 ? sign * std::numeric_limits<float>::infinity()
                       : std::numeric_limits<float>::quiet_NaN();
}

// The nearest, ties to even; infinity from kOverflow on.
inline Float16 NearestFloat16(double number) {
  const std::uint32_t sign = std::signbit(number) ? 0x8000 : 0;
  const double size = std::fabs(number);
  std::uint32_t bits = 0x7C00;
  if (std::isnan(number)) {
    bits = 0x7E00;
  } else if (size < 0x1p-14) {
    bits = static_cast<std::uint32_t>(std::nearbyint(size * 0x1p24));
  } else if (size < Float16::kOverflow) {
    const int exponent = std::ilogb(size);
    const auto fraction =
        static_cast<std::uint32_t>(std::nearbyint(std::ldexp(size, 10 - exponent)));
    // A fraction that was rounded up to 2048 adds one to the exponent.
    bits = (static_cast<std::uint32_t>(exponent + 15) << 10) + fraction - 1024;
  }
  return {static_cast<std::uint16_t>(sign | bits)};
}

}  // namespace millrace
