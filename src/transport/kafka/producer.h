// The Producer of Kafka: idempotent, acknowledged by all in-sync replicas.
// Internal to transport/kafka.
#pragma once

#include <memory>

#include "transport/log.h"

namespace millrace::kafka {

// An Append waits for the cluster for up to `patience`.
Result<std::unique_ptr<Producer>> NewProducer(const KafkaOptions& options, Millis patience);

}  // namespace millrace::kafka
