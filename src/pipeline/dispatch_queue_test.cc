#include "pipeline/dispatch_queue.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <deque>
#include <random>
#include <thread>
#include <vector>

namespace millrace {
namespace {

class DispatchQueueTest : public ::testing::Test {
 protected:
  // Rows of tenants 0 to 2, ready to be admitted together.
  std::vector<RequestRow*> NewRows(ModelSlot model, std::size_t count) {
    std::vector<RequestRow*> rows;
    for (std::size_t i = 0; i < count; ++i) {
      RequestRow& row = rows_.emplace_back();
      row.model = model;
      row.tenant = TenantSlot(static_cast<std::int32_t>(i % 3));
      rows.push_back(&row);
    }
    return rows;
  }
  void StartExecutors(DispatchQueue& queue, int count) {
    for (int i = 0; i < count; ++i) {
      executors_.emplace_back([this, &queue] {
        DispatchedBatch batch;
        while (queue.Take(&batch, Micros(50), Micros(50))) {
          taken_.fetch_add(batch.rows.size());
          batches_.fetch_add(1);
        }
      });
    }
  }
  void JoinExecutors() {
    for (std::thread& executor : executors_) executor.join();
  }
  // Waits until `count` rows were taken; false after five seconds.
  bool WaitTaken(std::size_t count) {
    for (int i = 0; i < 5000 && taken_.load() < count; ++i) std::this_thread::sleep_for(Millis(1));
    return taken_.load() == count;
  }

  std::deque<RequestRow> rows_;
  std::vector<std::thread> executors_;
  std::atomic<std::size_t> taken_{0};
  std::atomic<std::size_t> batches_{0};
};

TEST_F(DispatchQueueTest, RowsThatWaitForCompanyAreTakenWhenTheirTimerFires) {
  DispatchQueue queue(SystemClock(), 1000);
  const ModelSlot soon = queue.AddModel({.max_rows = 64, .max_wait = Millis(5), .adaptive = false});
  const ModelSlot late =
      queue.AddModel({.max_rows = 64, .max_wait = Millis(50), .adaptive = false});
  StartExecutors(queue, 3);
  // The earlier timer comes second: whoever sleeps for the later one must not sleep on.
  queue.Admit(NewRows(late, 2), SystemClock().Now());
  std::this_thread::sleep_for(Millis(2));
  const MonoTime start = SystemClock().Now();
  queue.Admit(NewRows(soon, 2), start);
  ASSERT_TRUE(WaitTaken(2));
  EXPECT_LT(SystemClock().Now() - start, Millis(40));
  EXPECT_TRUE(WaitTaken(4)) << "the later timer is still kept";
  EXPECT_EQ(batches_.load(), 2u);
  queue.Stop();
  JoinExecutors();
}

TEST_F(DispatchQueueTest, EveryExecutorIsWokenWhileThereIsWork) {
  DispatchQueue queue(SystemClock(), 1000);
  const ModelSlot model = queue.AddModel({.max_rows = 1});
  std::atomic<int> inside{0};
  for (int i = 0; i < 3; ++i) {
    executors_.emplace_back([&] {
      DispatchedBatch batch;
      if (!queue.Take(&batch)) return;
      inside.fetch_add(1);
      while (inside.load() < 3) std::this_thread::yield();  // Nobody comes back before all are in.
    });
  }
  std::this_thread::sleep_for(Millis(20));
  queue.Admit(NewRows(model, 3), SystemClock().Now());
  JoinExecutors();
  EXPECT_EQ(inside.load(), 3);
}

TEST_F(DispatchQueueTest, MoreRowsMayWaitWhileTheyAreWorthALot) {
  constexpr std::size_t kMaxRows = 2 * DispatchQueue::kQuickRows;
  DispatchQueue queue(SystemClock(), kMaxRows);
  const ModelSlot model = queue.AddModel({.max_rows = 1024});
  EXPECT_EQ(queue.WaitForRoom(Millis(0)), DispatchQueue::kQuickRows);
  queue.Admit(NewRows(model, DispatchQueue::kQuickRows), SystemClock().Now());
  EXPECT_EQ(queue.WaitForRoom(Millis(0)), 0u);

  DispatchedBatch batch;
  ASSERT_TRUE(queue.Take(&batch));
  ASSERT_EQ(batch.rows.size(), 1024u);
  EXPECT_EQ(queue.WaitForRoom(Millis(0)), 1024u);
  queue.Admit(NewRows(model, 1024), SystemClock().Now());
  // 16,384 rows of 10 us are 164 ms.
  ASSERT_TRUE(queue.Take(&batch, Millis(10), Millis(10)));
  queue.Admit(NewRows(model, 1024), SystemClock().Now());
  EXPECT_EQ(queue.WaitForRoom(Millis(0)), kMaxRows - DispatchQueue::kQuickRows);
  queue.Admit(NewRows(model, kMaxRows - DispatchQueue::kQuickRows), SystemClock().Now());
  EXPECT_EQ(queue.WaitForRoom(Millis(0)), 0u) << "max_rows is the last word";
}

TEST_F(DispatchQueueTest, WhoWaitsForRoomIsWokenWhenTheRowsTurnOutToBeWorthALot) {
  DispatchQueue queue(SystemClock(), 2 * DispatchQueue::kQuickRows);
  const ModelSlot model = queue.AddModel({.max_rows = 8});
  queue.Admit(NewRows(model, DispatchQueue::kQuickRows + 100), SystemClock().Now());
  std::atomic<std::size_t> room{0};
  std::thread intake([&] { room = queue.WaitForRoom(Millis(60'000)); });
  DispatchedBatch batch;
  ASSERT_TRUE(queue.Take(&batch));
  std::this_thread::sleep_for(Millis(20));
  EXPECT_EQ(room.load(), 0u);
  // Fewer have gone than stood above the first limit: it is their price that makes room.
  ASSERT_TRUE(queue.Take(&batch, Millis(10), Millis(10)));
  for (int i = 0; i < 10'000 && room.load() == 0; ++i) std::this_thread::sleep_for(Millis(1));
  EXPECT_GT(room.load(), 0u) << "long before its own time is over";
  intake.join();
}

TEST_F(DispatchQueueTest, NothingIsForgottenHoweverAdmissionsAndTimersMeet) {
  const std::uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  DispatchQueue queue(SystemClock(), 1 << 20);
  const ModelSlot models[] = {
      queue.AddModel({.max_rows = 8, .max_wait = Millis(1), .adaptive = false}),
      queue.AddModel({.max_rows = 4, .max_wait = Millis(2), .adaptive = false}),
      queue.AddModel({.max_rows = 16})};
  StartExecutors(queue, 4);
  std::size_t admitted = 0;
  for (int i = 0; i < 3000; ++i) {
    const std::size_t count = 1 + random() % 6;
    queue.Admit(NewRows(models[random() % 3], count), SystemClock().Now());
    admitted += count;
    if (random() % 16 == 0) std::this_thread::sleep_for(Micros(random() % 500));
  }
  EXPECT_TRUE(WaitTaken(admitted)) << "without Stop, which would make everything due";
  queue.Stop();
  JoinExecutors();
}

TEST_F(DispatchQueueTest, RunsOfSeveralThreadsKeepThatManyProcessors) {
  constexpr int kProcessors = 3;
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  DispatchQueue queue(SystemClock(), 10'000);
  queue.SetPermits(kProcessors);
  // As many threads as there are processors, more, fewer, and one.
  const std::array<std::size_t, 4> threads = {3, 8, 2, 1};
  std::vector<ModelSlot> models;
  for (const std::size_t count : threads) {
    models.push_back(queue.AddModel({.max_rows = 4, .max_wait = Millis(0), .threads = count}));
  }
  std::atomic<int> busy{0};
  std::atomic<int> most{0};
  for (int i = 0; i < kProcessors; ++i) {
    executors_.emplace_back([&] {
      DispatchedBatch batch;
      while (queue.Take(&batch, Micros(50), Micros(50))) {
        const int mine =
            static_cast<int>(std::min<std::size_t>(threads[batch.model.index()], kProcessors));
        const int now = busy.fetch_add(mine) + mine;
        int seen = most.load();
        while (now > seen && !most.compare_exchange_weak(seen, now)) {
        }
        std::this_thread::sleep_for(Micros(200));
        busy.fetch_sub(mine);
        taken_.fetch_add(batch.rows.size());
      }
    });
  }
  std::mt19937 random(seed);
  constexpr std::size_t kPolls = 300;
  for (std::size_t i = 0; i < kPolls; ++i) {
    queue.Admit(NewRows(models[random() % models.size()], 5), SystemClock().Now());
    if (random() % 4 == 0) std::this_thread::sleep_for(Micros(random() % 2000));
  }
  EXPECT_TRUE(WaitTaken(kPolls * 5)) << taken_.load();
  queue.Stop();
  JoinExecutors();
  EXPECT_EQ(most.load(), kProcessors);
  EXPECT_EQ(busy.load(), 0);
}

TEST_F(DispatchQueueTest, AModelOfSeveralThreadsHasItsTurnWhileSmallOnesKeepComing) {
  DispatchQueue queue(SystemClock(), 10'000);
  queue.SetPermits(2);
  const ModelSlot small = queue.AddModel({.max_rows = 1, .max_wait = Millis(0)});
  const ModelSlot wide = queue.AddModel({.max_rows = 1, .max_wait = Millis(0), .threads = 2});
  queue.Admit(NewRows(small, 200), SystemClock().Now());
  DispatchedBatch first;
  DispatchedBatch second;
  ASSERT_TRUE(queue.Take(&first));
  ASSERT_TRUE(queue.Take(&second));
  queue.Admit(NewRows(wide, 1), SystemClock().Now());
  // Of two executors by turns neither ever leaves both processors free by itself: when the wide
  // model is next, the one that comes first has to wait for the other.
  std::atomic<std::size_t> turn_at{0};
  for (DispatchedBatch* batch : {&first, &second}) {
    executors_.emplace_back([&, batch] {
      while (queue.Take(batch, Millis(1), Millis(1))) {
        const std::size_t taken = taken_.fetch_add(1) + 1;
        if (batch->model == wide) turn_at = taken;
      }
    });
  }
  EXPECT_TRUE(WaitTaken(199));
  EXPECT_GT(turn_at.load(), 0U);
  EXPECT_LT(turn_at.load(), 50U) << "of 198 small batches";
  queue.Stop();
  JoinExecutors();
}

}  // namespace
}  // namespace millrace
