// Notifier: how a commit in one process wakes the readers in all.
//
// A counter in a small file that every process maps; bumped after each commit, waited for with a
// futex. The counter says "look again", never what changed: a writer that died between its commit
// and the bump only costs the readers kLongestWait. Thread-safe. Internal to transport/local.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/status.h"

namespace millrace::local {

class Notifier {
 public:
  // What a missed notification costs at most.
  static constexpr Millis kLongestWait{500};

  static Result<std::unique_ptr<Notifier>> Open(const std::string& dir);
  Notifier(const Notifier&) = delete;
  Notifier& operator=(const Notifier&) = delete;
  ~Notifier();

  std::uint32_t Sequence() const { return sequence_->load(std::memory_order_acquire); }
  // Wakes every waiter of every process.
  void Notify();
  // Returns when the sequence is not `seen` any more, or after `timeout`, or early for no reason.
  void Wait(std::uint32_t seen, Nanos timeout) const;

 private:
  explicit Notifier(std::atomic<std::uint32_t>* sequence) : sequence_(sequence) {}

  std::atomic<std::uint32_t>* const sequence_;  // Start of the mapped page.
};

}  // namespace millrace::local
