// Names for what one run of a command makes on a cluster that others use, too.
#pragma once

#include <string>

#include "app/command.h"
#include "transport/options.h"

namespace millrace {

// Whether a file, the environment or a flag gave the setting `path`.
bool IsGiven(const CommandContext& context, const char* path);

// `<word>-<time and process>`: different for each call on one machine, in the order of time.
std::string UniqueName(const std::string& word);

// "<prefix>.requests", "<prefix>.results" and so on.
TopicOptions TopicsNamed(const std::string& prefix);

}  // namespace millrace
