#include "transport/kafka/client_version.h"

#include <librdkafka/rdkafka.h>

namespace millrace {

std::string KafkaClientVersion() { return rd_kafka_version_str(); }

}  // namespace millrace
