#include "pipeline/breaker.h"

namespace millrace {

bool Breaker::OnResult() {
  last_way_.reset();
  if (closed()) return false;
  // A batch that was under way when the breaker opened says as much as a trial would.
  state_ = State::kClosed;
  backoff_.Reset();
  return true;
}

bool Breaker::OnFailure(std::optional<Way> way, MonoTime now) {
  const bool again = way.has_value() && way == last_way_;
  last_way_ = way;
  if (closed() && !again) return false;
  Pause(now);
  return true;
}

void Breaker::Pause(MonoTime now) {
  if (state_ == State::kOpen) return;  // Batches that ran side by side: one pause for all of them.
  state_ = State::kOpen;
  paused_until_ = now + backoff_.Next();
}

bool Breaker::OnTake() {
  if (state_ != State::kOpen) return false;
  state_ = State::kTrial;
  return true;
}

}  // namespace millrace
