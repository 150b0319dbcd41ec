// How far the outputs of two results for one request are apart.
//
// Reads the `output` or `outputs` of two result values (outcome_encoder.h) and walks them side by
// side. Not for the data plane: it makes a DOM of both.
#pragma once

#include <cstddef>
#include <string_view>

#include "base/status.h"

namespace millrace {

struct ResultDifference {
  std::size_t compared = 0;   // Numbers, texts, truth values, nulls.
  std::size_t differing = 0;  // Of these; of what only one result has, too.
  double max_absolute = 0;    // Of two numbers.
  double max_relative = 0;    // By the larger of the two.
};

// kInvalidArgument when one of the two is no result.
Result<ResultDifference> CompareResults(std::string_view a, std::string_view b);

}  // namespace millrace
