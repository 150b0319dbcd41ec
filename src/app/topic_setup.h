// Making topics, and being able to use them at once.
//
// A cluster says that a topic is made a moment before all of it knows: a command that makes topics
// ends, or goes on, only when they can be used.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "transport/log.h"

namespace millrace {

// Makes those of `specs` that do not exist and waits for all of them.
Status MakeMissingTopics(Log& log, std::span<const TopicSpec> specs);

// Waits, for a few seconds at most, until the offsets of each of `names` can be read.
Status WaitForTopics(Log& log, const std::vector<std::string>& names);

}  // namespace millrace
