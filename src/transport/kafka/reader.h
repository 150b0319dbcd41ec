// The Reader of Kafka: committed records of chosen partitions, outside any group.
// Internal to transport/kafka.
#pragma once

#include <memory>

#include "transport/log.h"

namespace millrace::kafka {

Result<std::unique_ptr<Reader>> NewReader(const KafkaOptions& options, ReadPace pace);

}  // namespace millrace::kafka
