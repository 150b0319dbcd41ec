#include "scheduler/run_time_fit.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace millrace {
namespace {

constexpr double kKeep = 0.97;  // Half after 23 batches.
// A batch that was interrupted says little: it counts as at most this many times its prediction.
constexpr double kMaxSurprise = 4;
constexpr double kTrusted = 4;  // Weight of the batches from which a prediction is one.
// Sizes must differ by this part of their mean before the two parts are told apart.
constexpr double kMinSpread = 0.1;

}  // namespace

void RunTimeFit::Add(std::size_t rows, Nanos time) {
  MILLRACE_DCHECK(rows > 0);
  MILLRACE_DCHECK(time >= Nanos(0));
  const auto n = static_cast<double>(rows);
  auto t = static_cast<double>(time.count());
  if (weight_ > kTrusted) {
    const double predicted = Predict(rows);
    if (predicted > 0) t = std::min(t, kMaxSurprise * predicted);
    deviation_ = deviation_ * kKeep + std::abs(t - predicted) * (1 - kKeep);
  }
  weight_ = weight_ * kKeep + 1;
  x_ = x_ * kKeep + n;
  y_ = y_ * kKeep + t;
  xx_ = xx_ * kKeep + n * n;
  xy_ = xy_ * kKeep + n * t;
  const double mean_x = x_ / weight_;
  const double mean_y = y_ / weight_;
  const double variance = xx_ / weight_ - mean_x * mean_x;
  if (variance > kMinSpread * kMinSpread * mean_x * mean_x) {
    const double slope = (xy_ / weight_ - mean_x * mean_y) / variance;
    fixed_ = mean_y - std::clamp(slope, 0.0, mean_y / mean_x) * mean_x;
  }
  fixed_ = std::clamp(fixed_, 0.0, mean_y);
  per_row_ = (mean_y - fixed_) / mean_x;
}

}  // namespace millrace
