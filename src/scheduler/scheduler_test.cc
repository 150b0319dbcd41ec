#include "scheduler/scheduler.h"

#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <random>
#include <set>

namespace millrace {
namespace {

const MonoTime kStart = MonoTime(Nanos(1'000'000'000));

struct TestRow : QueuedRow {
  int tenant = 0;
  int model = 0;
  int number = 0;
};

TestRow* AsTest(QueuedRow* row) { return static_cast<TestRow*>(row); }

BatchPolicy Policy(std::size_t max_rows, bool adaptive, Millis max_wait = Millis(50)) {
  return BatchPolicy{max_rows, max_wait, adaptive};
}

TEST(Scheduler, GivesAnIdleExecutorWhatThereIs) {
  Scheduler scheduler;
  const ModelSlot model = scheduler.AddModel(Policy(64, true));
  TestRow row;
  scheduler.Admit(model, TenantSlot(0), &row, kStart);
  FormedBatch batch;
  ASSERT_TRUE(scheduler.Next(kStart, &batch));
  EXPECT_EQ(batch.rows, std::vector<QueuedRow*>{&row});
  EXPECT_EQ(batch.reason, CloseReason::kIdle);
  EXPECT_FALSE(scheduler.Next(kStart, &batch));
}

TEST(Scheduler, PatientModelWaitsForItsFirstRowsTimer) {
  Scheduler scheduler;
  const ModelSlot model = scheduler.AddModel(Policy(4, false, Millis(50)));
  TestRow rows[2];
  scheduler.Admit(model, TenantSlot(1), &rows[0], kStart);
  scheduler.Admit(model, TenantSlot(0), &rows[1], kStart + Millis(40));
  FormedBatch batch;
  EXPECT_FALSE(scheduler.Next(kStart + Millis(49), &batch));
  ASSERT_EQ(scheduler.NextDue(), kStart + Millis(50)) << "the timer is the first row's";
  ASSERT_TRUE(scheduler.Next(kStart + Millis(50), &batch));
  EXPECT_EQ(batch.rows.size(), 2u);
  EXPECT_EQ(batch.reason, CloseReason::kTimer);
  EXPECT_EQ(scheduler.NextDue(), std::nullopt);
}

TEST(Scheduler, FullBatchGoesAtOnceAndNeverExceedsItsSize) {
  Scheduler scheduler;
  const ModelSlot model = scheduler.AddModel(Policy(4, false));
  std::vector<TestRow> rows(9);
  for (TestRow& row : rows) scheduler.Admit(model, TenantSlot(0), &row, kStart);
  FormedBatch batch;
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(scheduler.Next(kStart, &batch));
    EXPECT_EQ(batch.rows.size(), 4u);
    EXPECT_EQ(batch.reason, CloseReason::kFull);
  }
  EXPECT_FALSE(scheduler.Next(kStart, &batch)) << "the ninth row waits for its timer";
}

TEST(Scheduler, QuietTenantRidesInTheNextBatchOfABusyOne) {
  Scheduler scheduler;
  const ModelSlot model = scheduler.AddModel(Policy(8, true));
  std::vector<TestRow> noisy(1000);
  for (TestRow& row : noisy) scheduler.Admit(model, TenantSlot(0), &row, kStart);
  TestRow quiet;
  quiet.tenant = 1;
  scheduler.Admit(model, TenantSlot(1), &quiet, kStart);
  FormedBatch batch;
  ASSERT_TRUE(scheduler.Next(kStart, &batch));
  EXPECT_NE(std::find(batch.rows.begin(), batch.rows.end(), &quiet), batch.rows.end());
}

TEST(Scheduler, ModelsTakeTurns) {
  Scheduler scheduler;
  std::vector<TestRow> rows(64);
  const ModelSlot busy = scheduler.AddModel(Policy(4, true));
  const ModelSlot other = scheduler.AddModel(Policy(4, true));
  for (std::size_t i = 0; i < 60; ++i) scheduler.Admit(busy, TenantSlot(0), &rows[i], kStart);
  for (std::size_t i = 60; i < 64; ++i) scheduler.Admit(other, TenantSlot(0), &rows[i], kStart);
  FormedBatch batch;
  ASSERT_TRUE(scheduler.Next(kStart, &batch));
  const ModelSlot first = batch.model;
  ASSERT_TRUE(scheduler.Next(kStart, &batch));
  EXPECT_NE(batch.model, first);
}

TEST(Scheduler, DrainingMakesEverythingDue) {
  Scheduler scheduler;
  const ModelSlot model = scheduler.AddModel(Policy(64, false, Millis(60'000)));
  TestRow row;
  scheduler.Admit(model, TenantSlot(0), &row, kStart);
  FormedBatch batch;
  EXPECT_FALSE(scheduler.Next(kStart, &batch));
  scheduler.Drain();
  ASSERT_TRUE(scheduler.Next(kStart, &batch));
  EXPECT_EQ(batch.reason, CloseReason::kDrain);
}

// What one random schedule must keep, whatever it does.
class RandomSchedule {
 public:
  explicit RandomSchedule(std::uint64_t seed) : random_(seed) {
    for (int i = 0; i < 1 + Pick(4); ++i) {
      policies_.push_back(
          Policy(1 + static_cast<std::size_t>(Pick(16)), Pick(2) == 0, Millis(Pick(20))));
      scheduler_.AddModel(policies_.back());
    }
    tenants_ = 1 + Pick(6);
  }

  void Run(int steps) {
    for (int i = 0; i < steps; ++i) {
      now_ += Micros(Pick(3000));
      if (Pick(3) == 0) {
        Take();
      } else {
        for (int burst = Pick(10); burst >= 0; --burst) Admit();
      }
      if (::testing::Test::HasFatalFailure()) return;
    }
    scheduler_.Drain();
    drained_ = true;
    while (scheduler_.waiting() > 0) {
      Take();
      if (::testing::Test::HasFatalFailure()) return;
    }
    EXPECT_EQ(given_.size(), rows_.size()) << "a row was forgotten";
  }

 private:
  int Pick(int n) { return static_cast<int>(random_() % static_cast<std::uint64_t>(n)); }

  void Admit() {
    TestRow& row = rows_.emplace_back();
    row.model = Pick(static_cast<int>(policies_.size()));
    row.tenant = Pick(tenants_);
    row.number = static_cast<int>(rows_.size());
    scheduler_.Admit(ModelSlot(row.model), TenantSlot(row.tenant), &row, now_);
    waiting_[{row.model, row.tenant}].push_back(row.number);
  }

  void Take() {
    FormedBatch batch;
    bool due = false;
    for (std::size_t m = 0; m < policies_.size(); ++m) due = due || Due(static_cast<int>(m));
    const auto next_due = scheduler_.NextDue();
    ASSERT_EQ(scheduler_.Next(now_, &batch), due);
    if (batch.rows.empty()) {
      if (next_due.has_value()) {
        ASSERT_GT(*next_due, now_);
      }
      return;
    }
    const auto model = batch.model.value();
    ASSERT_LE(batch.rows.size(), policies_[batch.model.index()].max_rows);
    std::map<int, int> taken;
    for (QueuedRow* queued : batch.rows) {
      const TestRow* row = AsTest(queued);
      ASSERT_EQ(row->model, model) << "a batch is of one model";
      ASSERT_TRUE(given_.insert(row->number).second) << "a row was dispatched twice";
      auto& queue = waiting_[{row->model, row->tenant}];
      ASSERT_EQ(queue.front(), row->number) << "a tenant's rows keep their order";
      queue.pop_front();
      ++taken[row->tenant];
    }
    // Turn by turn: nobody who still waits got two rows fewer than anyone else.
    for (int tenant = 0; tenant < tenants_; ++tenant) {
      if (waiting_[{model, tenant}].empty()) continue;
      for (const auto& [other, count] : taken) ASSERT_LE(count, taken[tenant] + 1);
    }
  }

  bool Due(int model) {
    std::size_t rows = 0;
    MonoTime oldest = MonoTime::max();
    for (int tenant = 0; tenant < tenants_; ++tenant) {
      const auto& queue = waiting_[{model, tenant}];
      rows += queue.size();
      if (!queue.empty()) {
        oldest = std::min(oldest, rows_[static_cast<std::size_t>(queue.front()) - 1].queued_at);
      }
    }
    const BatchPolicy& policy = policies_[static_cast<std::size_t>(model)];
    if (rows == 0) return false;
    return drained_ || rows >= policy.max_rows || policy.adaptive ||
           now_ >= oldest + policy.max_wait;
  }

  bool drained_ = false;
  std::mt19937_64 random_;
  Scheduler scheduler_;
  std::vector<BatchPolicy> policies_;
  int tenants_ = 1;
  MonoTime now_ = kStart;
  std::deque<TestRow> rows_;
  std::map<std::pair<int, int>, std::deque<int>> waiting_;
  std::set<int> given_;
};

TEST(Scheduler, EveryScheduleGivesEachRowOnceInOrderAndTurnByTurn) {
  const std::uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  for (std::uint64_t i = 0; i < 1000; ++i) {
    RandomSchedule schedule(seed + i);
    schedule.Run(200);
    if (HasFatalFailure()) FAIL() << "schedule " << i;
  }
}

}  // namespace
}  // namespace millrace
