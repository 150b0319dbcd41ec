#include "pipeline/dispatch_queue.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace millrace {

ModelSlot DispatchQueue::AddModel(const BatchPolicy& policy) {
  const std::lock_guard lock(mutex_);
  const ModelSlot slot = scheduler_.AddModel(policy);
  if (slot.index() == models_.size()) models_.emplace_back();
  models_[slot.index()] = std::make_unique<ModelState>(retry_, policy.threads);
  return slot;
}

bool DispatchQueue::idle(ModelSlot model) const {
  const std::lock_guard lock(mutex_);
  return scheduler_.waiting(model) == 0 && models_[model.index()]->running == 0;
}

MonoTime DispatchQueue::last_arrival(ModelSlot model) const {
  const std::lock_guard lock(mutex_);
  return scheduler_.last_arrival(model);
}

void DispatchQueue::RemoveModel(ModelSlot model) {
  const std::lock_guard lock(mutex_);
  MILLRACE_CHECK(models_[model.index()]->running == 0);
  scheduler_.RemoveModel(model);
}

std::size_t DispatchQueue::LimitLocked() const {
  if (max_rows_ <= kQuickRows || scheduler_.waiting() < kQuickRows) {
    return std::min(max_rows_, kQuickRows);
  }
  return scheduler_.Backlog() > kLongBacklog ? max_rows_ : kQuickRows;
}

std::size_t DispatchQueue::WaitForRoom(Millis max_wait) {
  std::unique_lock lock(mutex_);
  std::size_t limit = 0;
  const auto has_room = [&] { return scheduler_.waiting() < (limit = LimitLocked()); };
  room_wanted_ = true;
  room_.wait_for(lock, max_wait, [&] { return has_room() || stopped_; });
  room_wanted_ = false;
  return has_room() ? limit - scheduler_.waiting() : 0;
}

void DispatchQueue::Admit(std::span<RequestRow* const> rows, MonoTime now) {
  if (rows.empty()) return;
  bool wake = false;
  {
    const std::lock_guard lock(mutex_);
    for (RequestRow* row : rows) scheduler_.Admit(row->model, row->tenant, row, now);
    wake = SomeoneMustWake();
  }
  if (wake) work_.notify_one();
}

bool DispatchQueue::SomeoneMustWake() const {
  if (idle_executors_ == 0) return false;
  const std::optional<MonoTime> due = scheduler_.NextDue();
  return due.has_value() && *due < timer_;
}

std::size_t DispatchQueue::PermitsOf(ModelSlot model) const {
  return std::min(models_[model.index()]->threads, permits_);
}

bool DispatchQueue::NextLocked(DispatchedBatch* batch, bool* blocked) {
  *blocked = false;
  if (scheduler_.waiting() == 0) return false;
  const MonoTime now = clock_.Now();
  const std::optional<ModelSlot> model = scheduler_.Upcoming(now);
  if (!model.has_value()) return false;
  const std::size_t permits = PermitsOf(*model);
  *blocked = permits > free_permits_;
  if (*blocked || !scheduler_.Next(now, batch)) return false;
  batch->permits = permits;
  free_permits_ -= permits;
  ModelState& state = *models_[batch->model.index()];
  batch->taken = true;
  ++state.running;
  batch->trial = !batch->rows.empty() && state.breaker.OnTake();
  if (batch->trial) scheduler_.Hold(batch->model, MonoTime::max(), now);
  return true;
}

bool DispatchQueue::Take(DispatchedBatch* batch, Nanos cpu, Nanos elapsed) {
  std::unique_lock lock(mutex_);
  // The caller's own time is measured; its model's other threads were there for the run, too.
  scheduler_.Settle(
      *batch, cpu * static_cast<std::int64_t>(std::max<std::size_t>(1, batch->permits)), elapsed);
  free_permits_ += std::exchange(batch->permits, 0);
  if (std::exchange(batch->taken, false)) --models_[batch->model.index()]->running;
  while (true) {
    if (abandoned_) return false;
    bool blocked = false;
    if (NextLocked(batch, &blocked)) {
      if (room_wanted_ && scheduler_.waiting() < LimitLocked()) room_.notify_one();
      if (stopped_ && scheduler_.waiting() == 0) work_.notify_all();  // Nothing to wait for.
      if (SomeoneMustWake()) work_.notify_one();
      return true;
    }
    // Rows of a model on hold may still have their turn before the drain deadline.
    if (stopped_ && scheduler_.waiting() == 0) return false;
    ++idle_executors_;
    const std::optional<MonoTime> due = scheduler_.NextDue();
    if (blocked) {
      work_.wait(lock);  // Whoever gives permits back comes here, and wakes the next.
    } else if (due.has_value() && *due < timer_) {
      timer_ = *due;
      work_.wait_until(lock, *due);
      if (timer_ == *due) timer_ = MonoTime::max();
    } else {
      work_.wait(lock);
    }
    --idle_executors_;
  }
}

bool DispatchQueue::paused(ModelSlot model) const {
  const std::lock_guard lock(mutex_);
  return !models_[model.index()]->breaker.closed();
}

bool DispatchQueue::OnResult(ModelSlot model) {
  const std::lock_guard lock(mutex_);
  ModelState& state = *models_[model.index()];
  state.ailing.store(false, std::memory_order_relaxed);
  if (!state.breaker.OnResult()) return false;
  scheduler_.Hold(model, MonoTime::min(), clock_.Now());
  work_.notify_one();
  return true;
}

std::optional<Nanos> DispatchQueue::OnFailure(ModelSlot model, std::optional<Breaker::Way> way) {
  const std::lock_guard lock(mutex_);
  const MonoTime now = clock_.Now();
  models_[model.index()]->ailing.store(true, std::memory_order_relaxed);
  if (!models_[model.index()]->breaker.OnFailure(way, now)) return std::nullopt;
  return HoldLocked(model, now);
}

Nanos DispatchQueue::Pause(ModelSlot model) {
  const std::lock_guard lock(mutex_);
  const MonoTime now = clock_.Now();
  models_[model.index()]->ailing.store(true, std::memory_order_relaxed);
  models_[model.index()]->breaker.Pause(now);
  return HoldLocked(model, now);
}

Nanos DispatchQueue::HoldLocked(ModelSlot model, MonoTime now) {
  const MonoTime until = models_[model.index()]->breaker.paused_until();
  scheduler_.Hold(model, until, now);
  work_.notify_one();  // Someone has to wake when the pause is over.
  return std::max(Nanos(0), until - now);
}

void DispatchQueue::Return(std::span<RequestRow* const> rows) {
  if (rows.empty()) return;
  const std::lock_guard lock(mutex_);
  const MonoTime now = clock_.Now();
  for (RequestRow* row : rows) scheduler_.Return(row->model, row->tenant, row, now);
  if (SomeoneMustWake()) work_.notify_one();
}

void DispatchQueue::Stop() {
  const std::lock_guard lock(mutex_);
  stopped_ = true;
  scheduler_.Drain(clock_.Now());
  work_.notify_all();
  room_.notify_all();
}

void DispatchQueue::Abandon() {
  const std::lock_guard lock(mutex_);
  abandoned_ = true;
  work_.notify_all();
}

std::size_t DispatchQueue::waiting() const {
  const std::lock_guard lock(mutex_);
  return scheduler_.waiting();
}

std::size_t DispatchQueue::waiting(ModelSlot model) const {
  const std::lock_guard lock(mutex_);
  return scheduler_.waiting(model);
}

}  // namespace millrace
