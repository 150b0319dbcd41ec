// DispatchQueue: the scheduler behind a lock, with executors waiting at it.
//
// The intake admits all rows of a poll under one lock; an executor settles its last batch and takes
// the next one under one lock. Nothing here decides: the scheduler does.
//
// It also keeps a breaker for each model. A model that is paused is on hold in the scheduler; when
// the pause is over one batch is handed out as a trial, and no other before its end was told.
//
// How many rows may wait has two limits. The tenants' shares reach as far as what waits, so the
// second one is for those that queue a lot of costly work; rows of a quick model would only leave
// the processors' caches between being read and being run.
//
// A model whose runs use several threads takes as many of the executors' CPUs, each of which is a
// permit: its batch waits until so many are free, and while it is the next one to run nothing else
// starts, or small models would always be quicker to take what comes free. It is charged for as
// many CPUs as it kept. With permits for every executor none of this matters to models of one
// thread.
//
// One executor is woken for new work, and wakes the next when it leaves some behind. While rows
// wait for company, one of the idle executors sleeps until they are due, the others without a
// timer.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "base/clock.h"
#include "pipeline/breaker.h"
#include "pipeline/model_table.h"
#include "pipeline/request_block.h"
#include "scheduler/scheduler.h"

namespace millrace {

struct DispatchedBatch : FormedBatch {
  std::size_t permits = 0;  // Held from Take to the next Take.
  bool trial = false;       // Of a model that is paused: one of the three ends below must follow.
  bool taken = false;       // Given out and not yet settled. The queue's.
};

class DispatchQueue {
 public:
  // Up to this many rows may wait whatever they cost, and more only while what waits is worth so
  // much CPU time by the scheduler's estimates.
  static constexpr std::size_t kQuickRows = 16'384;
  static constexpr Nanos kLongBacklog = Millis(100);

  // At most `max_rows` may wait; whoever admits asks for room first.
  DispatchQueue(const Clock& clock, std::size_t max_rows, double default_weight = 1,
                const RetryOptions& retry = {})
      : clock_(clock), max_rows_(max_rows), retry_(retry), scheduler_(default_weight) {
    models_.reserve(ModelTable::kMaxVersions);
  }

  // Before the executors start. How many CPUs there are for runs; without it, any number.
  void SetPermits(std::size_t permits) { permits_ = free_permits_ = permits; }
  void SetWeight(TenantSlot tenant, double weight) { scheduler_.SetWeight(tenant, weight); }
  // Before the first row of the model; one thread at a time, at most ModelTable::kMaxVersions.
  ModelSlot AddModel(const BatchPolicy& policy);
  // None of its rows waits or runs.
  bool idle(ModelSlot model) const;
  // When a row of it came last; the epoch: none did.
  MonoTime last_arrival(ModelSlot model) const;
  // Gives the slot back. REQUIRES: idle, and nobody will admit a row of it.
  void RemoveModel(ModelSlot model);

  // How many rows may be admitted now: waits up to `max_wait` for room for at least one.
  std::size_t WaitForRoom(Millis max_wait);
  // REQUIRES: room for them.
  void Admit(std::span<RequestRow* const> rows, MonoTime now);
  // Waits for a batch. `batch` is the one that the caller took before, if any: it is settled first,
  // with the CPU time it cost and the time it took. False once stopped and empty.
  bool Take(DispatchedBatch* batch, Nanos cpu = Nanos(0), Nanos elapsed = Nanos(0));

  // --- How batches end, for the breaker of their model ---
  // Whether OnResult is of interest: the last batch failed whole, or the model is paused.
  bool ailing(ModelSlot model) const {
    return models_[model.index()]->ailing.load(std::memory_order_relaxed);
  }
  // Its requests wait: see Breaker.
  bool paused(ModelSlot model) const;
  // A batch had a result. True when the model was paused until now.
  bool OnResult(ModelSlot model);
  // Every row of a batch failed, see Breaker::OnFailure. Returns for how long the model is paused
  // now, and nothing when it goes on and the rows have to be answered.
  std::optional<Nanos> OnFailure(ModelSlot model, std::optional<Breaker::Way> way);
  // A run failed for a reason that may pass: pauses the model. Returns for how long.
  Nanos Pause(ModelSlot model);
  // Takes back rows that Take gave out, to be run again. They may make more than `max_rows` wait.
  void Return(std::span<RequestRow* const> rows);

  // No more rows will be admitted: what waits is due at once; Take returns false when it is gone.
  void Stop();
  // The drain deadline has passed: Take returns false at once, what waits is left behind.
  void Abandon();
  std::size_t waiting() const;
  std::size_t waiting(ModelSlot model) const;

 private:
  struct ModelState {
    ModelState(const RetryOptions& retry, std::size_t threads_of_a_run)
        : threads(threads_of_a_run), breaker(retry) {}
    const std::size_t threads;
    Breaker breaker;                   // Guarded by mutex_.
    std::size_t running = 0;           // Batches given out. Guarded by mutex_.
    std::atomic<bool> ailing = false;  // What the breaker would say; read without the lock.
  };

  Nanos HoldLocked(ModelSlot model, MonoTime now);
  // REQUIRES: mutex_ is held. How many rows may wait now.
  std::size_t LimitLocked() const;
  // REQUIRES: mutex_ is held. What a run of the model takes: all there are if it wants more.
  std::size_t PermitsOf(ModelSlot model) const;
  // REQUIRES: mutex_ is held. Forms the next batch, unless it has to wait for permits: `*blocked`.
  bool NextLocked(DispatchedBatch* batch, bool* blocked);
  // REQUIRES: mutex_ is held. Whether an idle executor has to look again.
  bool SomeoneMustWake() const;

  const Clock& clock_;
  const std::size_t max_rows_;
  const RetryOptions retry_;
  // By ModelSlot; never reallocated, and an element changes only while nobody uses its slot.
  std::vector<std::unique_ptr<ModelState>> models_;
  mutable std::mutex mutex_;
  std::condition_variable work_;
  std::condition_variable room_;

  // Guarded by mutex_.
  Scheduler scheduler_;
  std::size_t permits_ = SIZE_MAX;
  std::size_t free_permits_ = SIZE_MAX;
  bool room_wanted_ = false;  // The intake waits in WaitForRoom.
  std::size_t idle_executors_ = 0;
  MonoTime timer_ = MonoTime::max();  // When the first idle executor wakes by itself.
  bool stopped_ = false;
  bool abandoned_ = false;
};

}  // namespace millrace
