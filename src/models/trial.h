// What a probe learns of a loaded model by running it: whether an answer depends on the batch.
//
// Fusing requests into batches is right only as far as one row's answer is the same wherever it
// runs. Some graphs give other last digits at other batch sizes, and some (those quantized
// dynamically) let one row's values into its neighbours' answers. Runs on the calling thread.
#pragma once

#include <cstddef>

#include "base/clock.h"
#include "base/status.h"
#include "models/repository.h"
#include "models/verdict.h"

namespace millrace {

// The same row, at each position of each batch bucket among other rows, against the row alone.
// kUnknown when `model` has no row that it takes, or `until` comes first.
Determinism FindDeterminism(const LoadedModel& model, std::size_t max_rows, MonoTime until);

}  // namespace millrace
