#include "app/cli.h"

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <optional>
#include <utility>

#include "app/help_formatter.h"
#include "app/memory_report.h"
#include "app/shared_flags.h"
#include "base/nearest.h"
#include "config/loader.h"
#include "generated/build_info.h"
#include "runtime/ort_process.h"
#include "telemetry/log.h"
#include "transport/kafka/client_version.h"

namespace millrace {
namespace {

std::string VersionText() {
  return fmt::format(
      "millrace {} ({}, {}, {})\nONNX Runtime {} or newer (C API {}), opened at run time\n"
      "librdkafka {}",
      BuildVersion(), BuildRevision(), BuildCompiler(), BuildType(), kOrtOldest, kOrtApiLevel,
      KafkaClientVersion());
}

std::string ProgramPath(const char* argv0) {
  std::array<char, 4096> path;
  const ssize_t size = ::readlink("/proc/self/exe", path.data(), path.size());
  if (size > 0 && static_cast<std::size_t>(size) < path.size()) {
    return std::string(path.data(), static_cast<std::size_t>(size));
  }
  return argv0;
}

// "millrace topics" or "millrace": how errors are introduced.
std::string Introduction(const std::string& command) {
  return command.empty() ? "millrace" : "millrace " + command;
}

int UsageError(const std::string& command, const std::string& message) {
  fmt::print(stderr, "{}: {}\nTry '{} --help'.\n", Introduction(command), message,
             Introduction(command));
  return kExitUsage;
}

std::vector<std::string> CommandsOf(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* sub : app.get_subcommands({})) names.push_back(sub->get_name());
  return names;
}

// `--brokers`, `-b`, ... of the command and of those above it.
std::vector<std::string> FlagsOf(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
    for (const std::string& name : option->get_snames()) names.push_back("-" + name);
  }
  return names;
}

// The command that the first words name. An unknown one, or one that only groups others and stands
// alone, is answered here: `exit` is set.
const CLI::App* FindCommand(const CLI::App& root, const std::vector<std::string>& words,
                            std::optional<int>& exit) {
  const CLI::App* app = &root;
  for (const std::string& word : words) {
    if (word.starts_with("-") || app->get_subcommands({}).empty()) return app;
    const CLI::App* below = nullptr;
    for (const CLI::App* sub : app->get_subcommands({})) {
      if (sub->get_name() == word) below = sub;
    }
    if (below == nullptr) {
      exit = UsageError(CommandName(*app), fmt::format("unknown command '{}'{}", word,
                                                       DidYouMean(word, CommandsOf(*app))));
      return app;
    }
    app = below;
  }
  if (!app->get_subcommands({}).empty()) {
    const CLI::App* parent = app->get_parent();
    fmt::print(stderr, "{}",
               app->help(parent == nullptr ? "" : Introduction(CommandName(*parent))));
    exit = kExitUsage;
  }
  return app;
}

// What CLI11 found wrong, in our words where its own say too little.
int ParseFailure(const CLI::App& root, const CLI::App& command, const CLI::ParseError& error) {
  const std::string name = CommandName(command);
  if (dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr) {
    const std::vector<std::string> rest = root.remaining(true);
    for (const std::string& extra : rest) {
      if (extra.size() < 2 || extra[0] != '-') continue;
      const std::string flag = extra.substr(0, extra.find('='));
      return UsageError(
          name, fmt::format("unknown flag '{}'{}", flag, DidYouMean(flag, FlagsOf(command))));
    }
    if (!rest.empty()) return UsageError(name, fmt::format("unexpected argument '{}'", rest[0]));
  }
  return UsageError(name, error.what());
}

// `help topics create` is `topics create --help`.
std::vector<std::string> Words(int argc, char** argv) {
  std::vector<std::string> words(argv + 1, argv + argc);
  if (!words.empty() && words[0] == "help") {
    words.erase(words.begin());
    words.push_back("--help");
  }
  return words;
}

void PrintWrongSettings(const std::string& command, const LoadedSettings& loaded) {
  fmt::print(stderr, "millrace {}: {} wrong:\n", command,
             loaded.errors.size() == 1 ? "a setting is"
                                       : fmt::format("{} settings are", loaded.errors.size()));
  for (const std::string& error : loaded.errors) fmt::print(stderr, "  {}\n", error);
}

int StdoutFailed(const std::string& command) {
  return Fail(command, {StatusCode::kResourceExhausted,
                        fmt::format("cannot write to stdout: {}", std::strerror(errno))});
}

int RunCommand(const CommandLine& line, const CLI::App& command, const CommandBody& body, int argc,
               char** argv) {
  CommandContext context;
  context.arguments.assign(argv, argv + argc);
  context.command = CommandName(command);
  context.program = ProgramPath(argv[0]);
  context.stdout_is_terminal = ::isatty(STDOUT_FILENO) == 1;
  context.stderr_is_terminal = ::isatty(STDERR_FILENO) == 1;
  context.output = line.flags->output == "json" ? OutputFormat::kJson : OutputFormat::kTable;

  SettingSources sources;
  sources.files = line.flags->files;
  sources.environment = ProcessEnvironment();
  Result<std::vector<FlagValue>> flags = FlagValues(command, *line.flags);
  if (!flags.ok()) return UsageError(context.command, std::string(flags.status().message()));
  sources.flags = std::move(*flags);

  SettingSet set;
  DescribeAllSettings(set, context.options);
  LoadedSettings loaded = LoadSettings(set, sources);
  if (loaded.ok()) {
    const Result<MemoryPlan> plan = PlanMemory(context.options);
    if (!plan.ok()) loaded.errors.emplace_back(plan.status().message());
  }
  context.loaded = &loaded;
  const auto use = line.table.settings_use.find(&command);
  const SettingsUse settings =
      use == line.table.settings_use.end() ? SettingsUse::kRequired : use->second;
  if (settings == SettingsUse::kRequired) {
    for (const std::string& warning : loaded.warnings) {
      fmt::print(stderr, "millrace {}: warning: {}\n", context.command, warning);
    }
    if (!loaded.ok()) {
      PrintWrongSettings(context.command, loaded);
      return kExitConfiguration;
    }
  }
  InitLogging(context.options.telemetry);
  const int code = body(context);
  if (std::fflush(stdout) != 0 && code == kExitOk) return StdoutFailed(context.command);
  return code;
}

int ParseAndRun(int argc, char** argv) {
  const CommandLine line;
  std::vector<std::string> words = Words(argc, argv);
  std::optional<int> exit;
  const CLI::App* command = FindCommand(*line.root, words, exit);
  if (exit) return *exit;
  try {
    // CLI11 takes the words from the back.
    line.root->parse(std::vector<std::string>(words.rbegin(), words.rend()));
  } catch (const CLI::CallForHelp&) {
    fmt::print("{}", line.root->help());
    return kExitOk;
  } catch (const CLI::CallForVersion& version) {
    fmt::print("{}\n", version.what());
    return kExitOk;
  } catch (const CLI::ParseError& error) {
    return ParseFailure(*line.root, *command, error);
  }
  for (const auto& [app, body] : line.table.commands) {
    if (app == command) return RunCommand(line, *command, body, argc, argv);
  }
  return UsageError("", "no command was given");
}

}  // namespace

std::string CommandName(const CLI::App& command) {
  if (command.get_parent() == nullptr) return {};
  const std::string above = CommandName(*command.get_parent());
  return above.empty() ? command.get_name() : above + " " + command.get_name();
}

int ExitCodeFor(const Status& status) {
  switch (status.code()) {
    case StatusCode::kOk:
      return kExitOk;
    case StatusCode::kInvalidArgument:
      return kExitUsage;
    case StatusCode::kConfiguration:
      return kExitConfiguration;
    case StatusCode::kUnavailable:
      return kExitUnreachable;
    default:
      return kExitFailure;
  }
}

int Fail(const std::string& command, const Status& status) {
  std::fflush(stdout);
  fmt::print(stderr, "{}: {}\n", Introduction(command), status.message());
  return ExitCodeFor(status);
}

CommandLine::CommandLine()
    : flags(std::make_unique<SharedFlags>()),
      root(std::make_unique<CLI::App>(
          "Streaming model inference on a durable log: requests in, exactly one outcome out.",
          "millrace")) {
  root->formatter(MakeHelpFormatter());
  root->set_help_flag("-h,--help", "Print this help");
  root->set_version_flag("--version", VersionText,
                         "Print the versions of what this binary is made of");
  root->footer(
      "Examples:\n"
      "  millrace demo                                  everything on this machine, no broker\n"
      "  millrace serve --data ./log --models ./models  run the worker on a local log\n"
      "  millrace serve -b host:9092 --models ./models  or on a Kafka cluster\n"
      "  millrace send --data ./log requests.ndjson     publish requests\n"
      "\n`millrace COMMAND --help` tells more. Exit codes: 0 ok, 1 failure, 2 usage, 3 settings,\n"
      "4 unreachable, 5 violations found.");
  root->require_subcommand(1);
  RegisterServe(*root, table);
  RegisterDemo(*root, table);
  RegisterSend(*root, table);
  RegisterTopics(*root, table);
  RegisterResults(*root, table);
  RegisterDlq(*root, table);
  RegisterModels(*root, table);
  RegisterVerify(*root, table);
  RegisterBench(*root, table);
  RegisterConfig(*root, table);
  RegisterCompletion(*root, table);
  for (const auto& [command, body] : table.commands) {
    const auto use = table.settings_use.find(command);
    AddSharedFlags(*command, *flags,
                   use != table.settings_use.end() && use->second == SettingsUse::kNone);
  }
}

CommandLine::~CommandLine() = default;

int RunCommandLine(int argc, char** argv) {
  try {
    return ParseAndRun(argc, argv);
  } catch (const std::exception& error) {
    // What prints throws when stdout takes no more, a full disk for example.
    if (std::ferror(stdout) != 0) return StdoutFailed("");
    fmt::print(stderr, "millrace: internal error: {}\n", error.what());
    return kExitFailure;
  }
}

}  // namespace millrace
