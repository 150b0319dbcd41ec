#include "scheduler/indexed_heap.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

namespace millrace {
namespace {

TEST(IndexedHeap, KeepsTheSmallestInFrontWhateverIsSetMovedAndRemoved) {
  const std::uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  IndexedHeap<int> heap;
  std::map<std::int32_t, int> model;
  for (int step = 0; step < 100'000; ++step) {
    const auto id = static_cast<std::int32_t>(random() % 40);
    if (random() % 3 == 0) {
      heap.Remove(id);
      model.erase(id);
    } else {
      const int key = static_cast<int>(random() % 1000);
      heap.Set(id, key);
      model[id] = key;
    }
    ASSERT_EQ(heap.size(), model.size());
    ASSERT_EQ(heap.contains(id), model.contains(id));
    if (model.empty()) continue;
    int smallest = 1000;
    for (const auto& [other, key] : model) smallest = std::min(smallest, key);
    ASSERT_EQ(heap.top_key(), smallest);
    ASSERT_EQ(model.at(heap.top()), smallest);
  }
}

}  // namespace
}  // namespace millrace
