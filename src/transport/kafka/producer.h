// The Producer of Kafka: idempotent, acknowledged by all in-sync replicas.
// Internal to transport/kafka.
#pragma once

#include <memory>

#include "transport/log.h"

namespace millrace::kafka {

Result<std::unique_ptr<Producer>> NewProducer(const KafkaOptions& options);

}  // namespace millrace::kafka
