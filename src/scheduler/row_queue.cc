#include "scheduler/row_queue.h"

#include <utility>

#include "base/check.h"

namespace millrace {

void RowQueue::Push(QueuedRow* row) {
  MILLRACE_DCHECK(row->next_queued == nullptr && row->first_child == nullptr);
  if (head_ == nullptr) {
    head_ = tail_ = row;
  } else if (Rank(*row) >= Rank(*tail_)) {
    tail_->next_queued = row;
    tail_ = row;
  } else {
    urgent_ = urgent_ == nullptr ? row : Merge(urgent_, row);
  }
}

QueuedRow* RowQueue::Pop() {
  MILLRACE_DCHECK(!empty());
  QueuedRow* row = head_;
  if (urgent_ != nullptr && (row == nullptr || Rank(*urgent_) < Rank(*row))) {
    row = urgent_;
    urgent_ = MergeSiblings(row->first_child);
  } else {
    head_ = row->next_queued;
    if (head_ == nullptr) tail_ = nullptr;
  }
  row->next_queued = nullptr;
  row->first_child = nullptr;
  return row;
}

QueuedRow* RowQueue::Merge(QueuedRow* a, QueuedRow* b) {
  if (Rank(*b) < Rank(*a)) std::swap(a, b);
  b->next_queued = a->first_child;
  a->first_child = b;
  a->next_queued = nullptr;
  return a;
}

// The usual two passes: pairs from left to right, then all of them from right to left.
QueuedRow* RowQueue::MergeSiblings(QueuedRow* first) {
  QueuedRow* pairs = nullptr;  // Last one first.
  while (first != nullptr) {
    QueuedRow* const second = first->next_queued;
    QueuedRow* const rest = second == nullptr ? nullptr : second->next_queued;
    QueuedRow* const pair = second == nullptr ? first : Merge(first, second);
    pair->next_queued = pairs;
    pairs = pair;
    first = rest;
  }
  QueuedRow* root = nullptr;
  while (pairs != nullptr) {
    QueuedRow* const next = pairs->next_queued;
    pairs->next_queued = nullptr;
    root = root == nullptr ? pairs : Merge(root, pairs);
    pairs = next;
  }
  return root;
}

}  // namespace millrace
