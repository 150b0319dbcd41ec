#include "app/signals.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>

#include "base/thread_name.h"

namespace millrace {
namespace {

sigset_t StopSet() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGUSR1);  // The destructor's own call to the waiting thread.
  return set;
}

}  // namespace

StopSignals::StopSignals() {
  const sigset_t set = StopSet();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  thread_ = std::thread([this] { Watch(); });
}

StopSignals::~StopSignals() {
  Close();
  ending_.store(true, std::memory_order_release);
  pthread_kill(thread_.native_handle(), SIGUSR1);
  thread_.join();
}

void StopSignals::OnStop(std::function<void()> handler) {
  const std::lock_guard lock(mutex_);
  if (stopped()) {
    handler();
  } else {
    handler_ = std::move(handler);
  }
}

void StopSignals::Close() {
  const std::lock_guard lock(mutex_);
  handler_ = nullptr;
}

void StopSignals::Watch() {
  SetThreadName("mr-signals");
  const sigset_t set = StopSet();
  int direct = 0;
  int forwarded = 0;
  while (true) {
    siginfo_t info{};
    const int signal = sigwaitinfo(&set, &info);
    if (signal < 0) continue;
    if (ending_.load(std::memory_order_acquire)) return;
    if (signal == SIGUSR1) continue;
    const bool counted = info.si_code == SI_QUEUE && info.si_value.sival_int > 0;
    if (counted && info.si_pid == getppid()) {
      forwarded = std::max(forwarded, info.si_value.sival_int);
    } else {
      ++direct;
    }
    if (std::max(direct, forwarded) > 1) _exit(128 + signal);
    if (stopped_.exchange(true, std::memory_order_acq_rel)) continue;
    const std::lock_guard lock(mutex_);
    if (handler_ != nullptr) handler_();
  }
}

}  // namespace millrace
