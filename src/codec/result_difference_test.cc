#include "codec/result_difference.h"

#include <gtest/gtest.h>

namespace millrace {
namespace {

ResultDifference Of(std::string_view a, std::string_view b) {
  const auto difference = CompareResults(a, b);
  EXPECT_TRUE(difference.ok()) << difference.status().ToString();
  return difference.ok() ? *difference : ResultDifference();
}

TEST(ResultDifference, TellsHowFarNumbersAreApart) {
  const auto difference = Of(R"({"output":[1,2.5,-4]})", R"({"output":[1,2,-5],"x":9})");
  EXPECT_EQ(difference.compared, 3u);
  EXPECT_EQ(difference.differing, 2u);
  EXPECT_DOUBLE_EQ(difference.max_absolute, 1);
  EXPECT_DOUBLE_EQ(difference.max_relative, 0.2);
}

TEST(ResultDifference, ComparesNamedOutputsOfAnyType) {
  const auto difference = Of(R"({"outputs":{"label":"yes","p":[[0.5,0.5]],"ok":true,"n":null}})",
                             R"({"outputs":{"p":[[0.25,0.75]],"label":"no","ok":false,"n":null}})");
  EXPECT_EQ(difference.compared, 5u);
  EXPECT_EQ(difference.differing, 4u);
  EXPECT_DOUBLE_EQ(difference.max_absolute, 0.25);
}

TEST(ResultDifference, WhatOneAloneHasDiffers) {
  EXPECT_EQ(Of(R"({"output":[1,2,3]})", R"({"output":[1]})").differing, 2u);
  EXPECT_EQ(Of(R"({"outputs":{"a":1}})", R"({"outputs":{"b":[1,2]}})").differing, 3u);
  EXPECT_EQ(Of(R"({"output":[1,2]})", R"({"outputs":{"b":7}})").differing, 2u);
}

TEST(ResultDifference, WhatIsNoResultIsAnError) {
  EXPECT_FALSE(CompareResults("{", R"({"output":[1]})").ok());
  EXPECT_FALSE(CompareResults(R"({"output":[1]})", R"({"status":"expired"})").ok());
}

}  // namespace
}  // namespace millrace
