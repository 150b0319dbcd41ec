// Which commands make a local log and which only look at one.
//
// A local log belongs to this machine and costs nothing to set up, so `send` and `serve` do it
// themselves and say so on stderr; a command that only reads must not leave a new log in a folder
// whose name was mistyped. On Kafka topics are an administrator's concern: nothing is made.
// Processes may call either at the same time.
#pragma once

#include <memory>

#include "app/command.h"
#include "app/options.h"
#include "base/status.h"
#include "transport/log.h"

namespace millrace {

// Makes each of ContractTopics that does not exist; those that exist stay as they are.
Status EnsureLocalTopics(Log& log, const AllOptions& options);

// The log that the settings name. kNotFound when it is a local one and its folder does not exist.
Result<std::unique_ptr<Log>> OpenExistingLog(const CommandContext& context);

}  // namespace millrace
