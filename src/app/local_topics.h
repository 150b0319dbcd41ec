// EnsureLocalTopics: the contract's topics on a local log, made where they are missing.
//
// A local log belongs to this machine and costs nothing to set up, so `send` and `serve` do it
// themselves and say so on stderr. On Kafka topics are an administrator's concern: nothing is made.
// Two processes may call it at the same time.
#pragma once

#include "app/options.h"
#include "base/status.h"
#include "transport/log.h"

namespace millrace {

// Makes each of ContractTopics that does not exist; those that exist stay as they are.
Status EnsureLocalTopics(Log& log, const AllOptions& options);

}  // namespace millrace
