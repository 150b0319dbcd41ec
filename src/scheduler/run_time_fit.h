// RunTimeFit: what a batch of n rows takes, as fixed + per_row * n, learnt from the batches run.
//
// Least squares that forgets: a batch counts half after some twenty others, so that a model that
// slows down is noticed. The two parts can be told apart only when batches differ in size; until
// then the last known fixed part stays, and none is assumed at first. Not thread-safe.
#pragma once

#include <cstddef>

#include "base/clock.h"

namespace millrace {

class RunTimeFit {
 public:
  // REQUIRES: rows > 0, time >= 0.
  void Add(std::size_t rows, Nanos time);
  bool known() const { return weight_ > 0; }
  // In nanoseconds; 0 before the first Add.
  double fixed() const { return fixed_; }
  double per_row() const { return per_row_; }
  double Predict(std::size_t rows) const { return fixed_ + per_row_ * static_cast<double>(rows); }
  // How far batches are from their prediction, on average.
  double deviation() const { return deviation_; }

 private:
  double fixed_ = 0;
  double per_row_ = 0;
  double deviation_ = 0;
  // Sums over the batches, older ones counting less.
  double weight_ = 0, x_ = 0, y_ = 0, xx_ = 0, xy_ = 0;
};

}  // namespace millrace
