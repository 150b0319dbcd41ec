// Holds, returned rows and models that come and go on thousands of random schedules: whatever is
// held and given back, each row is out at most once, none is forgotten, a model on hold runs
// nothing, and one in another's slot inherits nothing of it.
#include <gtest/gtest.h>

#include <cstdlib>
#include <deque>
#include <random>

#include "scheduler/scheduler.h"

namespace millrace {
namespace {

struct TestRow : QueuedRow {
  ModelSlot model;
  TenantSlot tenant;
  bool out = false;
  bool done = false;
};

class HoldSchedule {
 public:
  explicit HoldSchedule(std::uint64_t seed) : random_(seed), held_until_(kModels) {
    for (int m = 0; m < kModels; ++m) AddModel();
  }

  void Run() {
    for (int step = 0; step < 80 && !::testing::Test::HasFatalFailure(); ++step) {
      now_ += Micros(Pick(1'000));
      for (int i = Pick(5); i > 0; --i) Admit();
      if (Pick(6) == 0) Hold(Pick(2) == 0 ? MonoTime::max() : now_ + Micros(Pick(3'000)));
      Take();
      if (Pick(10) == 0) Replace(Pick(kModels));
    }
    scheduler_.Drain(now_);
    for (int m = 0; m < kModels; ++m) Hold(MonoTime::min(), m);
    returning_ = false;
    while (scheduler_.waiting() > 0 && !::testing::Test::HasFatalFailure()) {
      ASSERT_TRUE(Take()) << "drained, and nothing on hold";
    }
    for (const TestRow& row : rows_) ASSERT_TRUE(row.done) << "a row was forgotten";
  }

 private:
  static constexpr int kModels = 3;

  int Pick(int n) { return static_cast<int>(random_() % static_cast<std::uint64_t>(n)); }

  ModelSlot AddModel() {
    return scheduler_.AddModel({.max_rows = static_cast<std::size_t>(1 + Pick(6)),
                                .max_wait = Millis(Pick(5)),
                                .adaptive = Pick(2) == 0});
  }

  // No batch is out between two steps.
  void Replace(int model) {
    if (scheduler_.waiting(ModelSlot(model)) > 0) return;
    scheduler_.RemoveModel(ModelSlot(model));
    EXPECT_EQ(AddModel(), ModelSlot(model));
    held_until_[static_cast<std::size_t>(model)] = MonoTime::min();
  }

  void Admit() {
    TestRow& row = rows_.emplace_back();
    row.model = ModelSlot(Pick(kModels));
    row.tenant = TenantSlot(Pick(4));
    if (Pick(8) == 0) row.deadline = now_ + Micros(Pick(4'000));
    if (Pick(8) == 0) row.priority = Pick(5) - 2;
    scheduler_.Admit(row.model, row.tenant, &row, now_);
  }

  void Hold(MonoTime until) { Hold(until, Pick(kModels)); }
  void Hold(MonoTime until, int model) {
    scheduler_.Hold(ModelSlot(model), until, now_);
    held_until_[static_cast<std::size_t>(model)] = until;
  }

  bool Take() {
    if (!scheduler_.Next(now_, &batch_)) {
      for (int m = 0; m < kModels; ++m) {
        const bool full = scheduler_.waiting(ModelSlot(m)) >= 6;
        EXPECT_FALSE(full && held_until_[static_cast<std::size_t>(m)] <= now_);
      }
      return false;
    }
    EXPECT_LE(held_until_[batch_.model.index()], now_) << "a model on hold runs";
    Nanos cost = Micros(Pick(500));
    scheduler_.Settle(batch_, cost, cost);
    for (std::vector<QueuedRow*>* part : {&batch_.rows, &batch_.expired}) {
      for (QueuedRow* queued : *part) {
        TestRow& row = *static_cast<TestRow*>(queued);
        EXPECT_FALSE(row.out || row.done) << "a row was given twice";
        row.out = true;
      }
    }
    for (std::vector<QueuedRow*>* part : {&batch_.rows, &batch_.expired}) {
      for (QueuedRow* queued : *part) {
        TestRow& row = *static_cast<TestRow*>(queued);
        row.out = false;
        if (returning_ && part == &batch_.rows && Pick(3) == 0) {
          scheduler_.Return(row.model, row.tenant, &row, now_);
        } else {
          row.done = true;
        }
      }
    }
    return true;
  }

  std::mt19937_64 random_;
  Scheduler scheduler_;
  std::deque<TestRow> rows_;
  std::vector<MonoTime> held_until_;
  FormedBatch batch_;
  MonoTime now_ = MonoTime(Nanos(1'000'000'000));
  bool returning_ = true;
};

TEST(SchedulerHold, LosesNothingOnRandomSchedules) {
  const char* const chosen = std::getenv("MILLRACE_SEED");
  const std::uint64_t seed =
      chosen == nullptr ? std::random_device{}() : std::strtoull(chosen, nullptr, 10);
  for (std::uint64_t i = 0; i < 10'000; ++i) {
    HoldSchedule schedule(seed + i);
    schedule.Run();
    if (::testing::Test::HasFailure()) FAIL() << "MILLRACE_SEED=" << seed + i;
  }
  std::printf("10000 schedules from seed %llu\n", static_cast<unsigned long long>(seed));
}

}  // namespace
}  // namespace millrace
