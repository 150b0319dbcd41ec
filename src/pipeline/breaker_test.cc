#include "pipeline/breaker.h"

#include <gtest/gtest.h>

namespace millrace {
namespace {

const MonoTime kNow = MonoTime(Nanos(1'000'000'000));
constexpr Breaker::Way kOne = 1;
constexpr Breaker::Way kOther = 2;

RetryOptions Retry() {
  return {.initial_backoff = Millis(100), .max_backoff = Millis(400), .max_attempts = 3};
}

TEST(BreakerTest, OpensWhenTwoBatchesInARowFailTheSameWay) {
  Breaker breaker(Retry());
  EXPECT_FALSE(breaker.OnFailure(kOne, kNow));
  EXPECT_TRUE(breaker.closed());
  EXPECT_TRUE(breaker.OnFailure(kOne, kNow));
  EXPECT_EQ(breaker.state(), Breaker::State::kOpen);
  EXPECT_GE(breaker.paused_until(), kNow + Millis(50));
  EXPECT_LE(breaker.paused_until(), kNow + Millis(100));
}

TEST(BreakerTest, StaysClosedWhileFailuresDifferOrResultsComeBetween) {
  Breaker breaker(Retry());
  for (int i = 0; i < 5; ++i) {
    EXPECT_FALSE(breaker.OnFailure(kOne, kNow));
    EXPECT_FALSE(breaker.OnFailure(kOther, kNow));
    EXPECT_FALSE(breaker.OnFailure(std::nullopt, kNow)) << "rows that failed in different ways";
    EXPECT_FALSE(breaker.OnFailure(std::nullopt, kNow));
    EXPECT_FALSE(breaker.OnFailure(kOne, kNow));
    EXPECT_FALSE(breaker.OnResult()) << "it was closed";
  }
  EXPECT_FALSE(breaker.OnTake());
}

TEST(BreakerTest, OneTrialAtATimeAndItsResultCloses) {
  Breaker breaker(Retry());
  breaker.OnFailure(kOne, kNow);
  breaker.OnFailure(kOne, kNow);
  EXPECT_TRUE(breaker.OnTake());
  EXPECT_FALSE(breaker.OnTake()) << "the first trial has not ended";
  EXPECT_TRUE(breaker.OnResult());
  EXPECT_TRUE(breaker.closed());
  EXPECT_FALSE(breaker.OnFailure(kOne, kNow)) << "it begins anew";
}

TEST(BreakerTest, PausesGrowUpToTheLimitAndShrinkAfterAResult) {
  Breaker breaker(Retry());
  breaker.OnFailure(kOne, kNow);
  breaker.OnFailure(kOne, kNow);
  MonoTime now = kNow;
  Nanos last(0);
  for (int i = 0; i < 6; ++i) {
    now = breaker.paused_until();
    ASSERT_TRUE(breaker.OnTake());
    ASSERT_TRUE(breaker.OnFailure(kOther, now)) << "a trial fails in any way";
    last = breaker.paused_until() - now;
  }
  EXPECT_GE(last, Millis(200));
  EXPECT_LE(last, Millis(400));
  ASSERT_TRUE(breaker.OnTake());
  EXPECT_TRUE(breaker.OnResult());
  breaker.Pause(now);
  EXPECT_LE(breaker.paused_until() - now, Millis(100));
}

TEST(BreakerTest, BatchesThatRanSideBySideMakeOnePause) {
  Breaker breaker(Retry());
  breaker.Pause(kNow);
  const MonoTime until = breaker.paused_until();
  EXPECT_TRUE(breaker.OnFailure(kOne, kNow + Millis(1)));
  breaker.Pause(kNow + Millis(2));
  EXPECT_EQ(breaker.paused_until(), until);
}

}  // namespace
}  // namespace millrace
