#include "app/command.h"
#include "transport/local/local_log.h"

namespace millrace {

Result<std::unique_ptr<Log>> CommandContext::OpenLog() const {
  if (options.transport.kind == TransportKind::kLocal) {
    return OpenLocalLog(options.transport.local);
  }
  return Status(StatusCode::kUnsupported,
                "this version reads the embedded local log only: add --transport local --data DIR");
}

}  // namespace millrace
