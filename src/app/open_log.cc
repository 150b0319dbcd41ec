#include "app/command.h"
#include "transport/kafka/kafka_log.h"
#include "transport/local/local_log.h"

namespace millrace {

Result<std::unique_ptr<Log>> CommandContext::OpenLog() const {
  if (options.transport.kind == TransportKind::kLocal) {
    return OpenLocalLog(options.transport.local);
  }
  return OpenKafkaLog(options.transport);
}

}  // namespace millrace
