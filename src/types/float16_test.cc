#include "types/float16.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace millrace {
namespace {

TEST(Float16Test, EveryNumberComesBack) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const Float16 half{static_cast<std::uint16_t>(bits)};
    const float number = ToFloat(half);
    if (std::isnan(number)) {
      EXPECT_TRUE(std::isnan(ToFloat(NearestFloat16(static_cast<double>(number)))));
    } else {
      EXPECT_EQ(NearestFloat16(static_cast<double>(number)), half) << bits;
    }
  }
}

TEST(Float16Test, WhatLiesBetweenGoesToTheNearestAndTiesToEven) {
  for (std::uint32_t bits = 0; bits < 0x7BFF; ++bits) {
    const Float16 low{static_cast<std::uint16_t>(bits)};
    const Float16 high{static_cast<std::uint16_t>(bits + 1)};
    const double middle =
        (static_cast<double>(ToFloat(low)) + static_cast<double>(ToFloat(high))) / 2;
    EXPECT_EQ(NearestFloat16(middle), bits % 2 == 0 ? low : high) << bits;
    EXPECT_EQ(NearestFloat16(std::nextafter(middle, 0.0)), low) << bits;
    EXPECT_EQ(NearestFloat16(std::nextafter(middle, 1e9)), high) << bits;
  }
}

TEST(Float16Test, KnowsItsEnds) {
  EXPECT_EQ(ToFloat(NearestFloat16(65519.99)), 65504.0F);
  EXPECT_TRUE(std::isinf(ToFloat(NearestFloat16(Float16::kOverflow))));
  EXPECT_EQ(ToFloat({0x0001}), 0x1p-24F);
  EXPECT_EQ(ToFloat({0x3C00}), 1.0F);
  EXPECT_EQ(ToFloat({0xC000}), -2.0F);
  EXPECT_EQ(NearestFloat16(-0.0).bits, 0x8000);
}

}  // namespace
}  // namespace millrace
