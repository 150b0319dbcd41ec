// The command line: one tree of commands, shared flags on each, settings loaded before any runs.
//
// Owns nothing that outlives a call. Main thread only.
#pragma once

#include <memory>
#include <string>

#include "app/command.h"

namespace CLI {
class App;
}

namespace millrace {

// Parses, loads settings, runs the command; returns the process's exit code. Nothing throws.
int RunCommandLine(int argc, char** argv);

// What the flags that every command has were set to.
struct SharedFlags;

// The whole tree with every command's flags, for parsing, help and completion scripts. The three
// must live as long as `root` is used.
struct CommandLine {
  CommandLine();
  ~CommandLine();
  CommandLine(const CommandLine&) = delete;
  CommandLine& operator=(const CommandLine&) = delete;

  std::unique_ptr<SharedFlags> flags;
  std::unique_ptr<CLI::App> root;
  CommandTable table;
};

// "serve", "topics create": the words that name a command.
std::string CommandName(const CLI::App& command);

}  // namespace millrace
