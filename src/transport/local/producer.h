// The Producer of the local log. Internal to transport/local.
#pragma once

#include <memory>

#include "base/status.h"
#include "transport/local/log_context.h"
#include "transport/log.h"

namespace millrace::local {

// A transaction of a Producer holds at most this much: what others may have to wait for.
inline constexpr std::size_t kMaxAppendRecords = 4096;
inline constexpr std::size_t kMaxAppendBytes = 8 << 20;  // One larger record goes alone.

Result<std::unique_ptr<Producer>> NewProducer(const LogContext& context);

}  // namespace millrace::local
