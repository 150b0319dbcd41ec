// StopSignals: SIGTERM and SIGINT as a call on an ordinary thread.
//
// Construct it before any other thread starts: it blocks both signals for the process and waits for
// them on its own thread ("mr-signals"). The first one calls the handler; the second ends the
// process at once with 128 + its number. A signal that comes before OnStop is remembered. A
// supervisor sends on what it was sent, with how many that were: whoever signals both (systemd a
// whole control group, a terminal its foreground) has asked once.
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <thread>

namespace millrace {

class StopSignals {
 public:
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  // `handler` runs at most once, on the signal thread or, for a remembered signal, here.
  void OnStop(std::function<void()> handler);
  // No handler runs after this returns. The second-signal rule goes on.
  void Close();
  bool stopped() const { return stopped_.load(std::memory_order_acquire); }

 private:
  void Watch();

  std::atomic<bool> stopped_{false};
  std::atomic<bool> ending_{false};
  std::mutex mutex_;
  std::function<void()> handler_;  // Guarded by mutex_.
  std::thread thread_;
};

}  // namespace millrace
