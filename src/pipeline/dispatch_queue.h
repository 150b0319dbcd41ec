// DispatchQueue: the scheduler behind a lock, with executors waiting at it.
//
// The intake admits all rows of a poll under one lock; an executor settles its last batch and takes
// the next one under one lock. Nothing here decides: the scheduler does.
//
// One executor is woken for new work, and wakes the next when it leaves some behind. While rows
// wait for company, one of the idle executors sleeps until they are due, the others without a
// timer.
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
  DispatchQueue(const Clock& clock, std::size_t max_rows, double default_weight = 1)
      : clock_(clock), max_rows_(max_rows), scheduler_(default_weight) {}

  // Before the executors start.
  void SetWeight(TenantSlot tenant, double weight) { scheduler_.SetWeight(tenant, weight); }
  ModelSlot AddModel(const BatchPolicy& policy) { return scheduler_.AddModel(policy); }

  // How many rows may be admitted now: waits up to `max_wait` for room for at least one.
  std::size_t WaitForRoom(Millis max_wait);
  // REQUIRES: room for them.
  void Admit(std::span<RequestRow* const> rows, MonoTime now);
  // Waits for a batch. `batch` is the one that the caller took before, if any: it is settled first,
  // with the CPU time it cost and the time it took. False once stopped and empty.
  bool Take(FormedBatch* batch, Nanos cpu = Nanos(0), Nanos elapsed = Nanos(0));
  // No more rows will be admitted: what waits is due at once; Take returns false when it is gone.
  void Stop();
  // The drain deadline has passed: Take returns false at once, what waits is left behind.
  void Abandon();
  std::size_t waiting() const;
  std::size_t waiting(ModelSlot model) const;

 private:
  // REQUIRES: mutex_ is held. Whether an idle executor has to look again.
  bool SomeoneMustWake() const;

  const Clock& clock_;
  const std::size_t max_rows_;
  mutable std::mutex mutex_;
  std::condition_variable work_;
  std::condition_variable room_;

  // Guarded by mutex_.
  Scheduler scheduler_;
  std::size_t idle_executors_ = 0;
  MonoTime timer_ = MonoTime::max();  // When the first idle executor wakes by itself.
  bool stopped_ = false;
  bool abandoned_ = false;
};

}  // namespace millrace
