// OutcomeEstimate: about what one result of a model takes once it is encoded, for the memory that
// is promised to rows which have no result yet.
//
// It begins with what warm-up tells. What open dimensions and strings add to that only requests
// show: a run whose results are larger raises the estimate at once, for too small a one admits too
// much; runs with smaller ones lower it step by step, never below where it began. Executors teach
// it once a run, the intake asks once a row. Any thread; of two runs that end at once one may not
// be heard.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>

namespace millrace {

class OutcomeEstimate {
 public:
  explicit OutcomeEstimate(std::size_t least = 0) : least_(least), bytes_(least) {}

  std::size_t bytes() const { return bytes_.load(std::memory_order_relaxed); }
  // A run's results took `bytes` each, on average.
  void Learn(std::size_t bytes) {
    const std::size_t now = bytes_.load(std::memory_order_relaxed);
    const std::size_t next =
        bytes >= now ? bytes : std::max(least_, now - (now - bytes + kStep - 1) / kStep);
    if (next != now) bytes_.store(next, std::memory_order_relaxed);
  }

 private:
  // Of the way down that one run goes.
  static constexpr std::size_t kStep = 32;

  const std::size_t least_;
  std::atomic<std::size_t> bytes_;
};

}  // namespace millrace
