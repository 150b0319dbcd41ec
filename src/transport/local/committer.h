// The Committer of the local log: a unit of work is one SQL transaction.
// Internal to transport/local.
#pragma once

#include <memory>

#include "base/status.h"
#include "transport/committer.h"
#include "transport/local/log_context.h"
#include "transport/local/membership.h"

namespace millrace::local {

Result<std::unique_ptr<Committer>> NewCommitter(const LogContext& context,
                                                std::shared_ptr<const Membership> membership,
                                                const LogMemory& memory);

}  // namespace millrace::local
