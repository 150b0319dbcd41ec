// Golden rows: requests of a model whose answers are known, in a file beside it.
//
// A line of golden.ndjson is a request's `input` or `inputs` with the `output` (of the first
// output, flat) or `outputs` (by name, nested or flat; those left out are not looked at) that the
// model gave where it was made, and an optional `tolerance`. A version that answers otherwise here
// does not serve: another library, a wrong file, a broken export. Calling thread only.
#pragma once

#include <cstdint>
#include <string>

#include "base/status.h"
#include "models/repository.h"

namespace millrace {

// How far a number may be from the one that is expected, relative to it or to 1.
inline constexpr double kGoldenTolerance = 1e-5;
inline constexpr std::int64_t kMaxGoldenRows = 10'000;

// Runs every row alone. kInvalidArgument with the line, the output, and both values for the first
// that differs. `rows`: how many gave what they should.
Status RunGoldenRows(const LoadedModel& model, const std::string& path, std::int64_t* rows);

}  // namespace millrace
