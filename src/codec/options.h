// Limits of what a request may look like; what breaks one becomes a dead letter that names it.
#pragma once

#include <cstdint>

#include "base/settings.h"

namespace millrace {

struct CodecLimits {
  std::int64_t max_request_bytes = 1 << 20;    // limits.max_request_bytes
  std::int64_t max_id_bytes = 256;             // limits.max_id_bytes: request, tenant, model ids.
  std::int64_t max_metadata_bytes = 16 << 10;  // limits.max_metadata_bytes
  std::int64_t max_header_bytes = 64 << 10;    // limits.max_header_bytes: all headers of a record.
  std::int64_t max_result_bytes = 1 << 20;     // limits.max_result_bytes: else output_too_large.
};
// Nesting deeper than this is a dead letter; part of the contract, not a setting.
inline constexpr int kMaxJsonDepth = 32;

void DescribeSettings(SettingSet& set, CodecLimits& limits);

}  // namespace millrace
