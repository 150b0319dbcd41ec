// The Committer of the local log: a unit of work is one SQL transaction. At most once, a claim is
// another, on a connection of its own; an attempt that failed left nothing, so that it may be tried
// again. Internal to transport/local.
#pragma once

#include <memory>

#include "base/status.h"
#include "transport/committer.h"
#include "transport/local/log_context.h"
#include "transport/local/membership.h"
#include "transport/options.h"

namespace millrace::local {

Result<std::unique_ptr<Committer>> NewCommitter(const LogContext& context,
                                                std::shared_ptr<const Membership> membership,
                                                DeliveryMode mode, const LogMemory& memory);

}  // namespace millrace::local
