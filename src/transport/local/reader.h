// The Reader of the local log. Internal to transport/local.
#pragma once

#include <memory>

#include "base/status.h"
#include "transport/local/log_context.h"
#include "transport/log.h"

namespace millrace::local {

Result<std::unique_ptr<Reader>> NewReader(const LogContext& context);

}  // namespace millrace::local
