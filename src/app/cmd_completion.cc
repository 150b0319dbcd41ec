#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "app/command.h"
#include "app/completion.h"

namespace millrace {

void RegisterCompletion(CLI::App& root, CommandTable& table) {
  CLI::App* const completion =
      root.add_subcommand("completion", "Print a completion script for a shell");
  completion->require_subcommand(1);
  const auto add = [&](const char* shell, std::string (*script)(const CLI::App&), const char* use) {
    CLI::App* const command =
        completion->add_subcommand(shell, fmt::format("Print the script for {}", shell));
    command->footer(fmt::format("Examples:\n  {}", use));
    const CLI::App* const tree = &root;
    table.commands.emplace_back(command, [tree, script](CommandContext&) {
      fmt::print("{}", script(*tree));
      return kExitOk;
    });
    table.settings_use[command] = SettingsUse::kNone;
  };
  add("bash", BashCompletion, "source <(millrace completion bash)");
  add("zsh", ZshCompletion, "source <(millrace completion zsh)");
  add("fish", FishCompletion, "millrace completion fish | source");
}

}  // namespace millrace
