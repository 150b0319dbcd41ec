#include "codec/options.h"

namespace millrace {

void DescribeSettings(SettingSet& set, CodecLimits& limits) {
  constexpr std::int64_t kKib = std::int64_t{1} << 10;
  constexpr std::int64_t kMib = std::int64_t{1} << 20;
  set.Bytes("limits.max_request_bytes", &limits.max_request_bytes, kKib, 64 * kMib,
            "Largest value of a request; a larger one becomes a dead letter (too_large).");
  set.Integer("limits.max_id_bytes", &limits.max_id_bytes, 16, 1024,
              "Longest request, tenant or model id in bytes; a longer one is too_large.");
  set.Bytes("limits.max_metadata_bytes", &limits.max_metadata_bytes, 0, kMib,
            "Largest metadata object of a request as JSON text; it is copied into the result.");
  set.Bytes("limits.max_header_bytes", &limits.max_header_bytes, kKib, kMib,
            "Most bytes of all headers of a request, which travel on to its outcome.");
  set.Bytes("limits.max_result_bytes", &limits.max_result_bytes, kKib, 64 * kMib,
            "Largest value of a result; a larger one becomes a dead letter (output_too_large).");
}

}  // namespace millrace
