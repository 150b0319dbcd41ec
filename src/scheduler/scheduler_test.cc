#include "scheduler/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>

namespace millrace {
namespace {

const MonoTime kStart = MonoTime(Nanos(1'000'000'000));

struct TestRow : QueuedRow {
  int tenant = 0;
};

BatchPolicy Policy(std::size_t max_rows, bool adaptive, Millis max_wait = Millis(50),
                   double weight = 1) {
  return BatchPolicy{max_rows, max_wait, adaptive, weight};
}

class SchedulerTest : public ::testing::Test {
 protected:
  void Admit(ModelSlot model, int tenant, std::size_t count, MonoTime deadline = MonoTime::max()) {
    for (std::size_t i = 0; i < count; ++i) {
      TestRow& row = rows_.emplace_back();
      row.tenant = tenant;
      row.deadline = deadline;
      scheduler_.Admit(model, TenantSlot(tenant), &row, now_);
    }
  }
  bool Next() { return scheduler_.Next(now_, &batch_); }
  // Next, which must give something, and its settlement.
  void RunNext(Nanos fixed, Nanos per_row) {
    ASSERT_TRUE(Next());
    const Nanos time = fixed + per_row * static_cast<std::int64_t>(batch_.rows.size());
    scheduler_.Settle(batch_, time, time);
  }
  std::map<int, std::size_t> RowsByTenant() const {
    std::map<int, std::size_t> rows;
    for (const QueuedRow* row : batch_.rows) ++rows[static_cast<const TestRow*>(row)->tenant];
    return rows;
  }
  // Teaches the model what it takes, with batches of different sizes.
  void Teach(ModelSlot model, Nanos fixed, Nanos per_row) {
    for (std::size_t i = 0; i < 60; ++i) {
      Admit(model, 0, 1 + i % 4);
      now_ += Millis(200);  // As seldom as this nobody waits, and every timer has fired.
      RunNext(fixed, per_row);
    }
  }
  // Rows that come one by one, `pause` apart, and are taken as they come.
  void Stream(ModelSlot model, Nanos pause) {
    for (int i = 0; i < 200; ++i) {
      Admit(model, 0, 1);
      now_ += pause;
      Next();
    }
    while (scheduler_.waiting() > 0) {
      now_ += Millis(1);
      Next();
    }
  }

  Scheduler scheduler_;
  std::deque<TestRow> rows_;
  MonoTime now_ = kStart;
  FormedBatch batch_;
};

using SchedulerBatches = SchedulerTest;
using SchedulerShares = SchedulerTest;

// --- When a batch closes ---

TEST_F(SchedulerBatches, AnIdleExecutorGetsWhatThereIs) {
  const ModelSlot model = scheduler_.AddModel(Policy(64, true));
  Admit(model, 0, 1);
  ASSERT_TRUE(Next());
  EXPECT_EQ(batch_.rows, std::vector<QueuedRow*>{&rows_[0]});
  EXPECT_EQ(batch_.reason, CloseReason::kIdle);
  EXPECT_FALSE(Next());
}

TEST_F(SchedulerBatches, APatientModelWaitsForItsFirstRowsTimer) {
  const ModelSlot model = scheduler_.AddModel(Policy(4, false, Millis(50)));
  Admit(model, 1, 1);
  now_ = kStart + Millis(40);
  Admit(model, 0, 1);
  now_ = kStart + Millis(49);
  EXPECT_FALSE(Next());
  ASSERT_EQ(scheduler_.NextDue(), kStart + Millis(50)) << "the timer is the first row's";
  now_ = kStart + Millis(50);
  ASSERT_TRUE(Next());
  EXPECT_EQ(batch_.rows.size(), 2u);
  EXPECT_EQ(batch_.reason, CloseReason::kTimer);
  EXPECT_EQ(scheduler_.NextDue(), std::nullopt);
}

TEST_F(SchedulerBatches, AFullBatchGoesAtOnceAndNeverExceedsItsSize) {
  const ModelSlot model = scheduler_.AddModel(Policy(4, false));
  Admit(model, 0, 9);
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(Next());
    EXPECT_EQ(batch_.rows.size(), 4u);
    EXPECT_EQ(batch_.reason, CloseReason::kFull);
  }
  EXPECT_FALSE(Next()) << "the ninth row waits for its timer";
  EXPECT_EQ(scheduler_.NextDue(), kStart + Millis(50));
}

TEST_F(SchedulerBatches, DrainingMakesEverythingDue) {
  const ModelSlot model = scheduler_.AddModel(Policy(64, false, Millis(60'000)));
  Admit(model, 0, 1);
  EXPECT_FALSE(Next());
  scheduler_.Drain(now_);
  ASSERT_TRUE(Next());
  EXPECT_EQ(batch_.reason, CloseReason::kDrain);
}

TEST_F(SchedulerBatches, AModelOnHoldFormsNoBatchAndTheOthersDo) {
  const ModelSlot held = scheduler_.AddModel(Policy(4, true));
  const ModelSlot other = scheduler_.AddModel(Policy(4, true));
  Admit(held, 0, 9);
  scheduler_.Hold(held, now_ + Millis(20), now_);
  Admit(held, 1, 1);
  Admit(other, 0, 1);
  ASSERT_TRUE(Next());
  EXPECT_EQ(batch_.model, other);
  EXPECT_FALSE(Next());
  EXPECT_EQ(scheduler_.NextDue(), now_ + Millis(20));
  scheduler_.Drain(now_);
  EXPECT_FALSE(Next()) << "not even to drain";
  now_ += Millis(20);
  ASSERT_TRUE(Next());
  EXPECT_EQ(batch_.model, held);
  EXPECT_EQ(batch_.rows.size(), 4u);
}

TEST_F(SchedulerBatches, AHoldWithoutEndIsEndedByTheNextOne) {
  const ModelSlot model = scheduler_.AddModel(Policy(4, true));
  scheduler_.Hold(model, MonoTime::max(), now_);
  Admit(model, 0, 9);
  now_ += Millis(100'000);
  EXPECT_FALSE(Next());
  scheduler_.Hold(model, MonoTime::min(), now_);
  EXPECT_TRUE(Next());
}

TEST_F(SchedulerBatches, AReturnedRowGoesWhereItWas) {
  const ModelSlot model = scheduler_.AddModel(Policy(2, true));
  Admit(model, 0, 2);
  ASSERT_TRUE(Next());
  const std::vector<QueuedRow*> first = batch_.rows;
  now_ += Millis(1);
  Admit(model, 0, 2);
  for (QueuedRow* row : first) scheduler_.Return(model, TenantSlot(0), row, now_);
  EXPECT_EQ(scheduler_.waiting(), 4u);
  ASSERT_TRUE(Next());
  EXPECT_EQ(batch_.rows, first);
}

TEST_F(SchedulerBatches, ADeadlineClosesABatchWithTimeLeftToRunIt) {
  const ModelSlot model = scheduler_.AddModel(Policy(64, false, Millis(50)));
  Teach(model, Millis(5), Millis(1));
  const MonoTime start = now_;
  Admit(model, 0, 2);
  Admit(model, 1, 1, start + Millis(30));
  ASSERT_TRUE(scheduler_.NextDue().has_value());
  const Nanos left = start + Millis(30) - *scheduler_.NextDue();
  EXPECT_GE(left, Millis(8)) << "three rows take 8 ms";
  EXPECT_LE(left, Millis(11)) << "and no more is kept than the margin";
  now_ = *scheduler_.NextDue();
  ASSERT_TRUE(Next());
  EXPECT_EQ(batch_.rows.size(), 3u);
  EXPECT_EQ(batch_.reason, CloseReason::kDeadline);
}

TEST_F(SchedulerBatches, TheDeadlineOfARowThatIsGoneClosesNothing) {
  const ModelSlot model = scheduler_.AddModel(Policy(2, false, Millis(50)));
  Admit(model, 0, 2, kStart + Millis(20));
  now_ += Millis(1);
  Admit(model, 0, 1);
  ASSERT_TRUE(Next());
  EXPECT_EQ(scheduler_.NextDue(), kStart + Millis(51)) << "what is left came a millisecond later";
}

TEST_F(SchedulerBatches, AnExpiredRowIsGivenBackAndNotRun) {
  const ModelSlot model = scheduler_.AddModel(Policy(8, true));
  Admit(model, 0, 1, kStart + Millis(10));
  Admit(model, 0, 1, kStart + Millis(11));
  Admit(model, 0, 1);
  now_ = kStart + Millis(10);
  ASSERT_TRUE(Next());
  EXPECT_EQ(batch_.expired, std::vector<QueuedRow*>{&rows_[0]});
  EXPECT_EQ(batch_.rows, (std::vector<QueuedRow*>{&rows_[1], &rows_[2]}));
  EXPECT_EQ(scheduler_.waiting(), 0u);
}

TEST_F(SchedulerBatches, ABacklogOfExpiredRowsComesInBoundedPieces) {
  const ModelSlot model = scheduler_.AddModel(Policy(8, true));
  Admit(model, 0, 20, kStart);
  Admit(model, 0, 1);
  std::size_t expired = 0;
  while (scheduler_.waiting() > 0) {
    ASSERT_TRUE(Next());
    ASSERT_LE(batch_.expired.size(), 8u);
    expired += batch_.expired.size();
    scheduler_.Settle(batch_, Nanos(0), Nanos(0));
  }
  EXPECT_EQ(expired, 20u);
  EXPECT_EQ(batch_.rows.size(), 1u);
}

TEST_F(SchedulerBatches, WaitingPaysWhereTheFixedPartIsLargeAndRowsKeepComing) {
  const ModelSlot model = scheduler_.AddModel(Policy(64, true));
  Teach(model, Millis(4), Micros(50));
  Stream(model, Micros(500));  // Eight rows in the fixed part of a run.
  const MonoTime start = now_;
  Admit(model, 0, 1);
  EXPECT_FALSE(Next()) << "seven more rows will come in the time that a second batch would cost";
  ASSERT_TRUE(scheduler_.NextDue().has_value());
  EXPECT_GT(*scheduler_.NextDue(), start + Millis(2));
  EXPECT_LE(*scheduler_.NextDue(), start + Millis(5)) << "never longer than it can save";
  while (!Next()) {
    now_ += Micros(500);
    Admit(model, 0, 1);
  }
  EXPECT_EQ(batch_.reason, CloseReason::kIdle);
  EXPECT_GE(batch_.rows.size(), 4u);
  EXPECT_LE(batch_.rows.size(), 10u) << "more rows would lose more than the next one gains";
}

TEST_F(SchedulerBatches, RowsThatWouldLoseMoreThanTheNextOneGainsGoAtOnce) {
  const ModelSlot model = scheduler_.AddModel(Policy(64, true));
  Teach(model, Millis(4), Micros(50));
  Stream(model, Micros(500));
  Admit(model, 0, 20);  // Together they would lose 10 ms until the next row comes.
  EXPECT_TRUE(Next());
}

TEST_F(SchedulerBatches, NobodyWaitsNearZeroLoad) {
  const ModelSlot model = scheduler_.AddModel(Policy(64, true));
  Teach(model, Millis(4), Micros(50));
  Stream(model, Millis(20));
  Admit(model, 0, 1);
  EXPECT_TRUE(Next());
}

TEST_F(SchedulerBatches, NobodyWaitsForATreeModel) {
  const ModelSlot model = scheduler_.AddModel(Policy(64, true));
  Teach(model, Micros(8), Micros(5));
  Stream(model, Micros(2));
  Admit(model, 0, 1);
  EXPECT_TRUE(Next());
}

TEST_F(SchedulerBatches, WaitingEndsAtMaxWaitHoweverMuchItWouldSave) {
  const ModelSlot model = scheduler_.AddModel(Policy(64, true, Millis(3)));
  Teach(model, Millis(40), Micros(50));
  Stream(model, Millis(2));
  Admit(model, 0, 1);
  ASSERT_FALSE(Next());
  now_ += Millis(3);
  ASSERT_TRUE(Next());
  EXPECT_EQ(batch_.reason, CloseReason::kTimer);
}

// --- Who runs ---

TEST_F(SchedulerShares, AQuietTenantRidesInTheNextBatchOfABusyOne) {
  const ModelSlot model = scheduler_.AddModel(Policy(8, true));
  Admit(model, 0, 1000);
  for (int i = 0; i < 5; ++i) RunNext(Micros(100), Micros(10));
  Admit(model, 1, 1);
  RunNext(Micros(100), Micros(10));
  EXPECT_EQ(RowsByTenant()[1], 1u);
}

TEST_F(SchedulerShares, ATenantThatWasIdleHasSavedNoCredit) {
  const ModelSlot model = scheduler_.AddModel(Policy(1, true));
  Admit(model, 1, 1);
  RunNext(Micros(100), Micros(10));
  Admit(model, 0, 200);
  for (int i = 0; i < 100; ++i) RunNext(Micros(100), Micros(10));  // Tenant 1 idles.
  Admit(model, 1, 100);
  std::size_t rows = 0;
  for (int i = 0; i < 20; ++i) {
    RunNext(Micros(100), Micros(10));
    rows += RowsByTenant()[0];
  }
  EXPECT_NEAR(static_cast<double>(rows), 10, 1) << "half of what ran since both wait";
}

TEST_F(SchedulerShares, AModelThatWasIdleHasSavedNoCredit) {
  const ModelSlot busy = scheduler_.AddModel(Policy(4, true));
  const ModelSlot other = scheduler_.AddModel(Policy(4, true));
  Admit(busy, 0, 800);
  for (int i = 0; i < 100; ++i) RunNext(Micros(100), Micros(10));
  Admit(other, 0, 400);
  int batches = 0;
  for (int i = 0; i < 20; ++i) {
    RunNext(Micros(100), Micros(10));
    batches += batch_.model == busy ? 1 : 0;
  }
  EXPECT_NEAR(batches, 10, 1) << "half of what ran since both wait";
}

TEST_F(SchedulerShares, WeightsDivideWhatRuns) {
  const ModelSlot model = scheduler_.AddModel(Policy(8, true));
  scheduler_.SetWeight(TenantSlot(1), 3);
  Admit(model, 0, 2000);
  Admit(model, 1, 2000);
  std::map<int, std::size_t> rows;
  for (int i = 0; i < 100; ++i) {
    RunNext(Micros(100), Micros(10));
    for (const auto& [tenant, count] : RowsByTenant()) rows[tenant] += count;
  }
  EXPECT_NEAR(static_cast<double>(rows[1]), 600, 16);
}

TEST_F(SchedulerShares, ATenantIsCappedOnlyWhileOthersWait) {
  const ModelSlot model = scheduler_.AddModel(Policy(8, true));
  // Both wait; a batch of tenant 1 alone turns out to have cost a thousand times the estimate, so
  // that tenant 0 has the lower counter for long.
  Admit(model, 1, 8);
  ASSERT_TRUE(Next());
  Admit(model, 0, 100);
  Admit(model, 1, 100);
  scheduler_.Settle(batch_, Millis(100), Millis(1));
  ASSERT_TRUE(Next());
  EXPECT_EQ(RowsByTenant()[0], 4u) << "half of the batch, however far behind";
  while (scheduler_.waiting() > 50) ASSERT_TRUE(Next());
  std::map<int, std::size_t> last;
  while (scheduler_.waiting() > 0) {
    ASSERT_TRUE(Next());
    last = RowsByTenant();
  }
  Admit(model, 0, 100);
  ASSERT_TRUE(Next());
  EXPECT_EQ(RowsByTenant()[0], 8u) << "nobody else waits";
  Admit(model, 1, 2);
  ASSERT_TRUE(Next());
  EXPECT_EQ(RowsByTenant()[0], 6u) << "the other has no more rows to wait with";
}

// A tenant that asks for less than its share leaves the rest to the two others. Rounded up alone,
// the shares of these would let the heavier one fall behind by a row in each such batch.
TEST_F(SchedulerShares, WhatATenantLeavesIsSharedByWeightToo) {
  const ModelSlot model = scheduler_.AddModel(Policy(7, true));
  scheduler_.SetWeight(TenantSlot(1), 2.5);
  scheduler_.SetWeight(TenantSlot(2), 2.5);
  std::map<int, std::size_t> rows;
  for (int i = 0; i < 400; ++i) {
    for (const int tenant : {0, 1}) Admit(model, tenant, 7);
    Admit(model, 2, 1);
    RunNext(Micros(100), Micros(10));
    for (const auto& [tenant, count] : RowsByTenant()) rows[tenant] += count;
  }
  EXPECT_NEAR(static_cast<double>(rows[1]) / static_cast<double>(rows[0]), 2.5, 0.05);
}

TEST_F(SchedulerShares, NewcomersCannotKeepATenantWaiting) {
  const ModelSlot model = scheduler_.AddModel(Policy(1, true));
  Admit(model, 0, 1);
  Admit(model, 1, 1);
  bool served = false;
  for (int newcomer = 2; newcomer < 100; ++newcomer) {
    Admit(model, newcomer, 1);
    RunNext(Micros(100), Micros(10));
    served = served || RowsByTenant().contains(1);
    if (newcomer == 4) {
      EXPECT_TRUE(served);
    }
  }
}

TEST_F(SchedulerShares, ModelsShareByCostAndWeight) {
  const ModelSlot cheap = scheduler_.AddModel(Policy(4, true));
  const ModelSlot dear = scheduler_.AddModel(Policy(4, true));
  const ModelSlot vip = scheduler_.AddModel(Policy(4, true, Millis(50), 2));
  std::map<int, double> cost;
  for (int i = 0; i < 2000; ++i) {
    for (const ModelSlot model : {cheap, dear, vip}) {
      if (scheduler_.waiting(model) < 8) Admit(model, 0, 8);
    }
    ASSERT_TRUE(Next());
    const Nanos took = batch_.model == dear ? Micros(5000) : Micros(100);
    scheduler_.Settle(batch_, took, took);
    cost[batch_.model.value()] += static_cast<double>(took.count());
  }
  EXPECT_NEAR(cost[dear.value()] / cost[cheap.value()], 1, 0.15);
  EXPECT_NEAR(cost[vip.value()] / cost[cheap.value()], 2, 0.3);
}

TEST_F(SchedulerShares, ThousandsOfTenantsAreServedInTurn) {
  constexpr int kTenants = 5000;
  const ModelSlot model = scheduler_.AddModel(Policy(64, true));
  for (int round = 0; round < 3; ++round) {
    for (int tenant = 0; tenant < kTenants; ++tenant) Admit(model, tenant, 1);
  }
  std::map<int, std::size_t> rows;
  for (int i = 0; i < 2 * kTenants / 64; ++i) {
    RunNext(Micros(100), Micros(1));
    for (const auto& [tenant, count] : RowsByTenant()) rows[tenant] += count;
  }
  EXPECT_EQ(rows.size(), static_cast<std::size_t>(kTenants));
  for (const auto& [tenant, count] : rows) ASSERT_LE(count, 2u);
}

TEST_F(SchedulerShares, UpcomingIsWhomTheNextBatchIsOf) {
  const ModelSlot first = scheduler_.AddModel(Policy(4, false));
  const ModelSlot second = scheduler_.AddModel(Policy(2, false));
  EXPECT_EQ(scheduler_.Upcoming(now_), std::nullopt);
  Admit(first, 0, 1);
  EXPECT_EQ(scheduler_.Upcoming(now_), std::nullopt) << "its timer runs";
  Admit(first, 0, 15);
  Admit(second, 1, 16);
  while (const std::optional<ModelSlot> upcoming = scheduler_.Upcoming(now_)) {
    ASSERT_EQ(scheduler_.Upcoming(now_), upcoming) << "asking changes nothing";
    RunNext(Micros(10), Micros(upcoming == first ? 5 : 50));
    EXPECT_EQ(batch_.model, *upcoming);
  }
  EXPECT_EQ(scheduler_.waiting(), 0U);
}

}  // namespace
}  // namespace millrace
