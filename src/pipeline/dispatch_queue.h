// DispatchQueue: the scheduler behind a lock, with executors waiting at it.
//
// The intake admits all rows of a poll under one lock; an executor takes a whole batch under one
// lock. Nothing here decides: the scheduler does.
#pragma once

#include <condition_variable>
#include <mutex>
#include <span>
#include <vector>

#include "base/clock.h"
#include "pipeline/request_block.h"
#include "scheduler/scheduler.h"

namespace millrace {

class DispatchQueue {
 public:
  // `max_rows` may wait; whoever admits asks for room first.
  DispatchQueue(const Clock& clock, std::size_t max_rows) : clock_(clock), max_rows_(max_rows) {}

  // Before the executors start.
  ModelSlot AddModel(const BatchPolicy& policy) { return scheduler_.AddModel(policy); }

  // How many rows may be admitted now: waits up to `max_wait` for room for at least one.
  std::size_t WaitForRoom(Millis max_wait);
  // REQUIRES: room for them.
  void Admit(std::span<RequestRow* const> rows, MonoTime now);
  // Waits for a batch. False once stopped and empty.
  bool Take(FormedBatch* batch);
  // No more rows will be admitted: what waits is due at once; Take returns false when it is gone.
  void Stop();
  // The drain deadline has passed: Take returns false at once, what waits is left behind.
  void Abandon();
  std::size_t waiting() const;
  std::size_t waiting(ModelSlot model) const;

 private:
  const Clock& clock_;
  const std::size_t max_rows_;
  mutable std::mutex mutex_;
  std::condition_variable work_;
  std::condition_variable room_;

  // Guarded by mutex_.
  Scheduler scheduler_;
  std::size_t idle_executors_ = 0;
  bool stopped_ = false;
  bool abandoned_ = false;
};

}  // namespace millrace
