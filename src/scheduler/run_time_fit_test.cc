#include "scheduler/run_time_fit.h"

#include <gtest/gtest.h>

#include <random>

namespace millrace {
namespace {

TEST(RunTimeFit, TellsTheFixedPartFromThatOfARow) {
  RunTimeFit fit;
  std::mt19937_64 random(7);
  for (int i = 0; i < 200; ++i) {
    const std::size_t rows = 1 + random() % 64;
    const auto noise = static_cast<std::int64_t>(random() % 2000) - 1000;
    fit.Add(rows, Nanos(50'000 + 3'000 * static_cast<std::int64_t>(rows) + noise));
  }
  EXPECT_NEAR(fit.fixed(), 50'000, 1'000);
  EXPECT_NEAR(fit.per_row(), 3'000, 50);
  EXPECT_NEAR(fit.deviation(), 500, 250);
}

TEST(RunTimeFit, AssumesNoFixedPartBeforeSizesDiffer) {
  RunTimeFit fit;
  EXPECT_FALSE(fit.known());
  EXPECT_EQ(fit.Predict(8), 0);
  for (int i = 0; i < 50; ++i) fit.Add(8, Nanos(80'000));
  EXPECT_EQ(fit.fixed(), 0);
  EXPECT_NEAR(fit.Predict(16), 160'000, 1);
}

TEST(RunTimeFit, RemembersTheFixedPartWhenSizesNoLongerDiffer) {
  RunTimeFit fit;
  for (std::size_t rows = 1; rows <= 64; ++rows) {
    fit.Add(rows, Nanos(100'000 + 1'000 * static_cast<std::int64_t>(rows)));
  }
  for (int i = 0; i < 500; ++i) fit.Add(64, Nanos(164'000));
  EXPECT_NEAR(fit.fixed(), 100'000, 2'000);
  EXPECT_NEAR(fit.Predict(64), 164'000, 1);
}

TEST(RunTimeFit, ForgetsWhatAModelUsedToTake) {
  RunTimeFit fit;
  for (int i = 0; i < 500; ++i) fit.Add(1 + i % 32, Nanos(10'000));
  for (int i = 0; i < 200; ++i) fit.Add(1 + i % 32, Nanos(30'000));
  EXPECT_NEAR(fit.Predict(16), 30'000, 500);
}

TEST(RunTimeFit, OneInterruptedBatchChangesLittle) {
  RunTimeFit fit;
  for (int i = 0; i < 100; ++i) fit.Add(1 + i % 8, Nanos(10'000));
  fit.Add(4, Millis(500));
  EXPECT_LT(fit.Predict(4), 12'000);
}

}  // namespace
}  // namespace millrace
