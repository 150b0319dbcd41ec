// How a subcommand of the binary is made: parsed by CLI11, run with the settings already loaded.
//
// Each command lives in app/cmd_<name>.cc and offers one Register function. It declares its flags
// on a CLI subcommand and hands over a body. The body runs after settings are loaded (default <
// file < environment < flag) and returns the process's exit code. Data goes to stdout, everything
// else to stderr.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "app/options.h"
#include "base/status.h"
#include "transport/log.h"

namespace CLI {
class App;
}

namespace millrace {

struct LoadedSettings;

enum class OutputFormat { kTable, kJson };

enum ExitCode : int {
  kExitOk = 0,
  kExitFailure = 1,
  kExitUsage = 2,
  kExitConfiguration = 3,
  kExitUnreachable = 4,
  kExitViolations = 5,
};

// 4 for kUnavailable, 3 for kConfiguration, 2 for kInvalidArgument, else 1.
int ExitCodeFor(const Status& status);
// Prints "millrace <command>: <message>" to stderr and returns ExitCodeFor(status).
int Fail(const std::string& command, const Status& status);

struct CommandContext {
  AllOptions options;
  OutputFormat output = OutputFormat::kTable;
  bool stdout_is_terminal = false;
  bool stderr_is_terminal = false;
  std::string program;  // argv[0] resolved: for commands that start the binary again.
  std::string command;  // "serve", "topics create": for Fail.
  std::vector<std::string> arguments;  // As the process was given them, argv[0] included.
  // Where each value came from, bound to `options` above. Outlives the body.
  const LoadedSettings* loaded = nullptr;

  // The log the settings name. kUnavailable when a cluster does not answer.
  Result<std::unique_ptr<Log>> OpenLog() const;
};

using CommandBody = std::function<int(CommandContext&)>;

enum class SettingsUse {
  kRequired,  // The body runs only when every setting is right.
  kReported,  // The body runs anyway and tells what is wrong itself.
  kNone,      // The command reads no setting; the shared flags are accepted and not in its help.
};

// Register functions add to this; main runs the body whose subcommand was parsed.
struct CommandTable {
  std::vector<std::pair<CLI::App*, CommandBody>> commands;
  std::map<const CLI::App*, SettingsUse> settings_use;  // kRequired when not in here.
};

void RegisterServe(CLI::App& root, CommandTable& table);
void RegisterSend(CLI::App& root, CommandTable& table);
void RegisterResults(CLI::App& root, CommandTable& table);
void RegisterTopics(CLI::App& root, CommandTable& table);
void RegisterDlq(CLI::App& root, CommandTable& table);
void RegisterModels(CLI::App& root, CommandTable& table);
void RegisterVerify(CLI::App& root, CommandTable& table);
void RegisterConfig(CLI::App& root, CommandTable& table);
void RegisterCompletion(CLI::App& root, CommandTable& table);
void RegisterDemo(CLI::App& root, CommandTable& table);
void RegisterBench(CLI::App& root, CommandTable& table);

}  // namespace millrace
