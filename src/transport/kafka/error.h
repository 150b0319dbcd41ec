// librdkafka's errors as Statuses. Internal to transport/kafka.
#pragma once

#include <librdkafka/rdkafka.h>

#include <string_view>

#include "base/status.h"

namespace millrace::kafka {

// What a caller may make of the error: kUnavailable when the same call may succeed later.
StatusCode CodeOf(rd_kafka_resp_err_t error);

// OK for no error. `doing`: what failed, "creating topic x".
Status StatusOf(rd_kafka_resp_err_t error, std::string_view doing);
// With the text that came with the error instead of the general one.
Status StatusOf(rd_kafka_resp_err_t error, std::string_view text, std::string_view doing);
Status StatusOf(const rd_kafka_error_t* error, std::string_view doing);

}  // namespace millrace::kafka
