// InferenceRequest: one decoded request, as the pipeline carries it.
//
// All views borrow from the record it was decoded from, or from the decoder's scratch that travels
// with the same RecordBatch; they live until the request's outcome is encoded. The input tensor is
// not here: it was decoded straight into a row buffer.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/clock.h"

namespace millrace {

struct InferenceRequest {
  std::string_view request_id;
  std::string_view tenant_id;
  std::string_view model_id;
  std::string_view model_version;  // Empty: whichever version serves.
  std::string_view metadata;       // The raw JSON object, or empty.
  std::string_view enqueued_at;    // RFC 3339 text as it came, or empty.
  WallMillis deadline = 0;         // 0: none. Unix milliseconds, from deadline_ms or timeout_ms.
  std::int64_t timeout_ms = 0;     // 0: none. From the poll, where no time tells when it began.
  std::int32_t priority = 0;       // Larger goes sooner, among the requests of its tenant.
};

}  // namespace millrace
