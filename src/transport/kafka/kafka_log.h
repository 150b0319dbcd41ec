// The log on a Kafka cluster.
#pragma once

#include <memory>

#include "base/status.h"
#include "transport/log.h"

namespace millrace {

// Connects to the cluster. Errors: kConfiguration (a property that is wrong or refused),
// kUnavailable (no broker answers).
Result<std::unique_ptr<Log>> OpenKafkaLog(const TransportOptions& options);

}  // namespace millrace
