// Which Kafka client this binary carries, for `--version` and the build-info metric.
#pragma once

#include <string>

namespace millrace {

// Version of the librdkafka that is linked in, as it names itself: "2.15.1".
std::string KafkaClientVersion();

}  // namespace millrace
