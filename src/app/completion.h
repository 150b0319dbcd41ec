// Completion scripts for shells, generated from the tree of commands and flags.
#pragma once

#include <string>

namespace CLI {
class App;
}

namespace millrace {

std::string BashCompletion(const CLI::App& root);
std::string ZshCompletion(const CLI::App& root);
std::string FishCompletion(const CLI::App& root);

}  // namespace millrace
