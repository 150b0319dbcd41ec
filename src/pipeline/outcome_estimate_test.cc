#include "pipeline/outcome_estimate.h"

#include <gtest/gtest.h>

namespace millrace {
namespace {

TEST(OutcomeEstimateTest, BeginsWithWhatWarmUpTells) {
  OutcomeEstimate estimate(500);
  EXPECT_EQ(estimate.bytes(), 500u);
  estimate.Learn(100);
  EXPECT_EQ(estimate.bytes(), 500u);
}

TEST(OutcomeEstimateTest, LargerResultsRaiseItAtOnceAndSmallerOnesLowerItByAndBy) {
  OutcomeEstimate estimate(500);
  estimate.Learn(100'000);
  EXPECT_EQ(estimate.bytes(), 100'000u);
  estimate.Learn(1'000);
  EXPECT_LT(estimate.bytes(), 100'000u);
  EXPECT_GT(estimate.bytes(), 90'000u) << "one small result is no reason to admit much";
  for (int i = 0; i < 1'000; ++i) estimate.Learn(1'000);
  EXPECT_EQ(estimate.bytes(), 1'000u);
  for (int i = 0; i < 1'000; ++i) estimate.Learn(0);
  EXPECT_EQ(estimate.bytes(), 500u);
}

}  // namespace
}  // namespace millrace
