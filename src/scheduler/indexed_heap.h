// IndexedHeap: a binary heap of small dense ids, smallest key first, in which any id can be found,
// moved and removed in O(log n).
//
// Keys need operator<. Memory grows with the largest id ever pushed and is kept. Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/check.h"

namespace millrace {

template <class Key>
class IndexedHeap {
 public:
  bool empty() const { return heap_.empty(); }
  std::size_t size() const { return heap_.size(); }
  bool contains(std::int32_t id) const {
    const auto index = static_cast<std::size_t>(id);
    return index < place_.size() && place_[index] != kAbsent;
  }

  // REQUIRES: not empty.
  std::int32_t top() const { return heap_.front().id; }
  const Key& top_key() const { return heap_.front().key; }
  // REQUIRES: contains(id).
  const Key& key(std::int32_t id) const {
    MILLRACE_DCHECK(contains(id));
    return heap_[place_[static_cast<std::size_t>(id)]].key;
  }

  // Puts `id` in, or moves it to its new place.
  void Set(std::int32_t id, const Key& key) {
    MILLRACE_DCHECK(id >= 0);
    const auto index = static_cast<std::size_t>(id);
    if (index >= place_.size()) place_.resize(index + 1, kAbsent);
    if (place_[index] == kAbsent) {
      place_[index] = static_cast<std::uint32_t>(heap_.size());
      heap_.push_back({key, id});
    } else {
      heap_[place_[index]].key = key;
    }
    Settle(place_[index]);
  }

  // Nothing happens when `id` is not there.
  void Remove(std::int32_t id) {
    if (!contains(id)) return;
    const std::size_t hole = place_[static_cast<std::size_t>(id)];
    place_[static_cast<std::size_t>(id)] = kAbsent;
    const Entry last = heap_.back();
    heap_.pop_back();
    if (hole == heap_.size()) return;
    Put(hole, last);
    Settle(hole);
  }

  // Calls f(id) for each, in no order.
  template <class F>
  void ForEach(F f) const {
    for (const Entry& entry : heap_) f(entry.id);
  }

 private:
  static constexpr std::uint32_t kAbsent = ~std::uint32_t{0};
  struct Entry {
    Key key;
    std::int32_t id;
  };

  void Put(std::size_t at, const Entry& entry) {
    heap_[at] = entry;
    place_[static_cast<std::size_t>(entry.id)] = static_cast<std::uint32_t>(at);
  }

  // Moves the entry at `at` up or down to where it belongs.
  void Settle(std::size_t at) {
    const Entry entry = heap_[at];
    while (at > 0 && entry.key < heap_[(at - 1) / 2].key) {
      Put(at, heap_[(at - 1) / 2]);
      at = (at - 1) / 2;
    }
    while (true) {
      std::size_t child = 2 * at + 1;
      if (child >= heap_.size()) break;
      if (child + 1 < heap_.size() && heap_[child + 1].key < heap_[child].key) ++child;
      if (!(heap_[child].key < entry.key)) break;
      Put(at, heap_[child]);
      at = child;
    }
    Put(at, entry);
  }

  std::vector<Entry> heap_;
  std::vector<std::uint32_t> place_;  // By id.
};

}  // namespace millrace
