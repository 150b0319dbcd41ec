#include "pipeline/dispatch_queue.h"

namespace millrace {

std::size_t DispatchQueue::WaitForRoom(Millis max_wait) {
  std::unique_lock lock(mutex_);
  const auto has_room = [this] { return scheduler_.waiting() < max_rows_; };
  room_.wait_for(lock, max_wait, [&] { return has_room() || stopped_; });
  return has_room() ? max_rows_ - scheduler_.waiting() : 0;
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

bool DispatchQueue::Take(FormedBatch* batch, Nanos cpu, Nanos elapsed) {
  std::unique_lock lock(mutex_);
  scheduler_.Settle(*batch, cpu, elapsed);
  while (true) {
    if (abandoned_) return false;
    const bool was_full = scheduler_.waiting() >= max_rows_;
    if (scheduler_.waiting() > 0 && scheduler_.Next(clock_.Now(), batch)) {
      if (was_full) room_.notify_one();
      if (SomeoneMustWake()) work_.notify_one();
      return true;
    }
    if (stopped_) return false;
    ++idle_executors_;
    const std::optional<MonoTime> due = scheduler_.NextDue();
    if (due.has_value() && *due < timer_) {
      timer_ = *due;
      work_.wait_until(lock, *due);
      if (timer_ == *due) timer_ = MonoTime::max();
    } else {
      work_.wait(lock);
    }
    --idle_executors_;
  }
}

void DispatchQueue::Stop() {
  const std::lock_guard lock(mutex_);
  stopped_ = true;
  scheduler_.Drain();
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
