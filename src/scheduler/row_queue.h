// RowQueue: the waiting rows of one tenant and model, the one that goes next in front.
//
// A row goes before those that came up to kPriorityStep later for each step of its priority, and
// after them for each step below 0: priority buys time, not a lane of its own, so that every row
// ages to the front however many more urgent ones keep coming. Rows that come in that order, as
// all do while nobody uses priorities, form a list (O(1)); the others a pairing heap (O(log n)
// amortised). Rows are linked through themselves: nothing is allocated. Not thread-safe.
#pragma once

#include <cstdint>

#include "base/clock.h"

namespace millrace {

// What the scheduler knows of a row; the pipeline's row derives from it.
struct QueuedRow {
  MonoTime deadline = MonoTime::max();  // At and after it the row is not run but expired.
  MonoTime queued_at;                   // Set by Scheduler::Admit.
  std::int32_t priority = 0;            // Larger goes sooner, within its tenant and model.
  // Owned by the scheduler while the row waits.
  QueuedRow* next_queued = nullptr;
  QueuedRow* first_child = nullptr;
};

class RowQueue {
 public:
  // What one step of priority is worth.
  static constexpr Millis kPriorityStep{10};

  bool empty() const { return head_ == nullptr && urgent_ == nullptr; }
  // REQUIRES: in no queue.
  void Push(QueuedRow* row);
  // REQUIRES: not empty.
  QueuedRow* Pop();

  // Calls f(const QueuedRow&) for each, in no order. Visits every row: for short queues.
  template <class F>
  void ForEach(F& f) const {
    Visit(head_, f);
    Visit(urgent_, f);
  }

 private:
  static MonoTime Rank(const QueuedRow& row) {
    return row.queued_at - row.priority * kPriorityStep;
  }
  static QueuedRow* Merge(QueuedRow* a, QueuedRow* b);
  static QueuedRow* MergeSiblings(QueuedRow* first);

  template <class F>
  static void Visit(const QueuedRow* row, F& f) {
    for (; row != nullptr; row = row->next_queued) {
      f(*row);
      Visit(row->first_child, f);
    }
  }

  QueuedRow* head_ = nullptr;  // List in order of rank, linked by next_queued.
  QueuedRow* tail_ = nullptr;
  QueuedRow* urgent_ = nullptr;  // Pairing heap: siblings by next_queued, children by first_child.
};

}  // namespace millrace
