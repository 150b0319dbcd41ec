// The Source of the local log: every partition of the requests topic, assigned once.
// Internal to transport/local.
#pragma once

#include <memory>

#include "base/status.h"
#include "transport/local/log_context.h"
#include "transport/local/membership.h"
#include "transport/source.h"

namespace millrace::local {

// There is one worker per group, so partitions never move: one epoch, from Start to Close.
inline constexpr Epoch kOnlyEpoch{1};

Result<std::unique_ptr<Source>> NewSource(const LogContext& context,
                                          std::shared_ptr<const Membership> membership,
                                          const LogMemory& memory);

}  // namespace millrace::local
