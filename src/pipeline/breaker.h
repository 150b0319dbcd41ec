// Breaker: stops running a model of which nothing succeeds, and tries it again from time to time.
//
// Rows that fail beside others that do not are at fault themselves. Where every row of a batch
// fails, and every row of the next one in the same way, the model is the likelier culprit: it is
// paused and its rows wait, rather than all become dead letters. After a pause, longer each time
// (retry.*), one batch is let through as a trial; one result of it closes the breaker.
//
//   closed  --two batches in a row fail whole, the same way-->  open
//   open    --the pause is over-->                               trial (one batch)
//   trial   --any result-->  closed        trial  --no result-->  open, for longer
//
// The pattern is that of Nygard, "Release It!"; what opens it is ours. Not thread-safe: the
// dispatch queue guards it.
#pragma once

#include <cstdint>
#include <optional>

#include "base/clock.h"
#include "pipeline/backoff.h"

namespace millrace {

class Breaker {
 public:
  enum class State : std::uint8_t { kClosed, kOpen, kTrial };
  // How a run failed: equal for failures of the same kind, whatever numbers their texts hold.
  using Way = std::uint64_t;

  explicit Breaker(const RetryOptions& retry) : backoff_(retry) {}

  State state() const { return state_; }
  bool closed() const { return state_ == State::kClosed; }
  // REQUIRES: not closed. When the pause ends.
  MonoTime paused_until() const { return paused_until_; }

  // A batch had a result. True when that closed the breaker.
  bool OnResult();
  // Every row of a batch failed, all in this way or, without one, in different ways. True when the
  // model is paused now, until paused_until(), and its rows may wait for the trial.
  bool OnFailure(std::optional<Way> way, MonoTime now);
  // A run failed for want of something that comes back (memory, a device): pauses at once.
  void Pause(MonoTime now);
  // A batch is handed out. True when it is the trial.
  bool OnTake();

 private:
  State state_ = State::kClosed;
  std::optional<Way> last_way_;  // In which all of the last batch failed.
  MonoTime paused_until_{};
  Backoff backoff_;
};

}  // namespace millrace
