// Backoff: exponential pauses with jitter, between retries of something that is away.
//
// "Full jitter": a pause is uniform in [half, whole] of the present step, so that workers that lost
// the same dependency at the same moment do not return to it together. Not thread-safe.
#pragma once

#include <algorithm>
#include <random>

#include "base/clock.h"
#include "pipeline/options.h"

namespace millrace {

class Backoff {
 public:
  explicit Backoff(const RetryOptions& options)
      : options_(options), step_(options.initial_backoff), random_(std::random_device{}()) {}

  Millis Next() {
    const Millis step = std::min(step_, options_.max_backoff);
    const double grown = static_cast<double>(step.count()) * options_.multiplier;
    step_ = std::min(options_.max_backoff, Millis(static_cast<Millis::rep>(grown) + 1));
    return Millis(
        std::uniform_int_distribution<Millis::rep>(step.count() / 2, step.count())(random_));
  }
  void Reset() { step_ = options_.initial_backoff; }

 private:
  const RetryOptions options_;
  Millis step_;
  std::minstd_rand random_;
};

}  // namespace millrace
