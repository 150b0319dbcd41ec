// RunWatch: ends a run that takes longer than its model allows.
//
// One for each executor. The executor says when a run begins and ends; one thread of the worker
// looks at all of them from time to time and terminates what is overdue. A lock twice a run, so
// that no run is terminated in place of the one before it.
#pragma once

#include <mutex>

#include "base/clock.h"
#include "runtime/engine.h"

namespace millrace {

class RunWatch {
 public:
  // Executor's thread. `limit` 0: the run may take for ever.
  void Begin(Runner* runner, MonoTime now, Nanos limit) {
    const std::lock_guard lock(mutex_);
    runner_ = runner;
    deadline_ = limit > Nanos(0) ? now + limit : MonoTime::max();
    stopped_ = false;
  }
  // Executor's thread. True when the run was terminated for its time.
  bool End() {
    const std::lock_guard lock(mutex_);
    runner_ = nullptr;
    return stopped_;
  }

  // Any thread. Terminates the run, if there is one.
  void Terminate() {
    const std::lock_guard lock(mutex_);
    if (runner_ != nullptr) runner_->Terminate();
  }

  // Any thread. Terminates the run if it is overdue; again at each call, for one that was just
  // about to begin is missed. Returns by how much it is overdue, 0 if it is not.
  Nanos Check(MonoTime now) {
    const std::lock_guard lock(mutex_);
    if (runner_ == nullptr || now <= deadline_) return Nanos(0);
    stopped_ = true;
    runner_->Terminate();
    return now - deadline_;
  }

 private:
  std::mutex mutex_;
  // Guarded by mutex_.
  Runner* runner_ = nullptr;  // While it runs.
  MonoTime deadline_{};
  bool stopped_ = false;
};

}  // namespace millrace
