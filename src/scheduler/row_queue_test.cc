#include "scheduler/row_queue.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <random>
#include <vector>

namespace millrace {
namespace {

const MonoTime kStart = MonoTime(Nanos(1'000'000'000));

QueuedRow Row(MonoTime at, int priority = 0) {
  QueuedRow row;
  row.queued_at = at;
  row.priority = priority;
  return row;
}

TEST(RowQueue, RowsOfOnePriorityKeepTheirOrder) {
  std::vector<QueuedRow> rows(100, Row(kStart));
  RowQueue queue;
  for (QueuedRow& row : rows) queue.Push(&row);
  for (QueuedRow& row : rows) ASSERT_EQ(queue.Pop(), &row);
  EXPECT_TRUE(queue.empty());
}

TEST(RowQueue, AHigherPriorityGoesFirst) {
  QueuedRow low = Row(kStart, -1);
  QueuedRow normal = Row(kStart);
  QueuedRow high = Row(kStart + Millis(5), 1);
  RowQueue queue;
  for (QueuedRow* row : {&normal, &low, &high}) queue.Push(row);
  EXPECT_EQ(queue.Pop(), &high);
  EXPECT_EQ(queue.Pop(), &normal);
  EXPECT_EQ(queue.Pop(), &low);
}

TEST(RowQueue, ALowPriorityAgesToTheFront) {
  QueuedRow low = Row(kStart, -3);
  std::deque<QueuedRow> others;
  RowQueue queue;
  queue.Push(&low);
  int before = 0;
  for (int i = 0; i < 100; ++i) {  // More urgent ones keep coming, as fast as they are served.
    others.push_back(Row(kStart + Millis(i)));
    queue.Push(&others.back());
    if (queue.Pop() == &low) break;
    ++before;
  }
  EXPECT_EQ(before, 30) << "three steps of priority are worth 30 ms";
}

TEST(RowQueue, GivesRowsInTheOrderOfArrivalLessPriority) {
  const std::uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  for (int round = 0; round < 200; ++round) {
    std::deque<QueuedRow> rows;
    RowQueue queue;
    std::vector<MonoTime> waiting;
    MonoTime now = kStart;
    const auto rank = [](const QueuedRow& row) {
      return row.queued_at - row.priority * RowQueue::kPriorityStep;
    };
    for (int step = 0; step < 500; ++step) {
      if (random() % 5 < 3) {
        now += Millis(random() % 4);
        rows.push_back(Row(now, random() % 4 == 0 ? static_cast<int>(random() % 21) - 10 : 0));
        queue.Push(&rows.back());
        waiting.push_back(rank(rows.back()));
      } else if (!queue.empty()) {
        const auto first = std::min_element(waiting.begin(), waiting.end());
        ASSERT_EQ(rank(*queue.Pop()), *first);
        waiting.erase(first);
      }
      ASSERT_EQ(queue.empty(), waiting.empty());
      std::size_t visited = 0;
      const auto count = [&](const QueuedRow&) { ++visited; };
      queue.ForEach(count);
      ASSERT_EQ(visited, waiting.size());
    }
  }
}

}  // namespace
}  // namespace millrace
