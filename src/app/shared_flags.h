// SharedFlags: the flags that every command has, and the settings that they stand for.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "config/loader.h"

namespace CLI {
class App;
}

namespace millrace {

struct SharedFlags {
  std::vector<std::string> files;
  std::vector<std::string> assignments;  // -s
  std::vector<std::string> properties;   // -X
  std::string brokers, group, transport, data, models, ort_library, log_level, log_format;
  std::string output = "table";
};

// Declares them on `command`; `hidden` keeps them out of its help. `flags` must outlive it.
void AddSharedFlags(CLI::App& command, SharedFlags& flags, bool hidden);

// What was given on `command`, in the order in which it takes effect: -s comes last and wins.
// Errors: kInvalidArgument.
Result<std::vector<FlagValue>> FlagValues(const CLI::App& command, const SharedFlags& flags);

}  // namespace millrace
