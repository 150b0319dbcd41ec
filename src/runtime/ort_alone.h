// How fast a session is by itself: the yardstick beside which `bench` puts the whole pipeline.
//
// One thread, fresh random rows for every run (the same rows again and again flatter the branch
// predictor of tree models), only the time inside Runner::Run is counted.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/clock.h"
#include "base/status.h"
#include "runtime/engine.h"

namespace millrace {

struct OrtAloneRate {
  double rows_per_second = 0;
  double cpu_us_per_row = 0;  // CPU time of the calling thread.
  std::int64_t rows = 0;
};

// Runs batches of `batch_rows` for at least `duration` of wall time on the calling thread. Floating
// point inputs are uniform in [0, 1), whole numbers in 0..9, strings one digit, and
// open dimensions 16. REQUIRES: 1 <= batch_rows <= the
// session's max_rows.
Result<OrtAloneRate> MeasureRowsPerSecond(Session& session, std::size_t batch_rows,
                                          Millis duration);

}  // namespace millrace
