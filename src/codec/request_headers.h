// RequestHeaders: what a request says outside its value, in its record's headers and key.
//
// All views borrow from the record. An empty or null header counts as absent.
#pragma once

#include <optional>
#include <string_view>

#include "base/clock.h"
#include "codec/options.h"
#include "types/failure.h"
#include "types/record.h"

namespace millrace {

struct RequestHeaders {
  std::string_view model_id;
  std::string_view tenant_id;
  std::string_view request_id;
  std::string_view key_tenant;  // The key's part before its last '|', when it may be a tenant id.
  WallMillis deadline = 0;      // deadline_ms; 0: none.
};

// Fills `out` with every fact that is valid, and answers the first one that is not.
std::optional<Failure> ReadRequestHeaders(const Record& record, const CodecLimits& limits,
                                          RequestHeaders* out);

}  // namespace millrace
