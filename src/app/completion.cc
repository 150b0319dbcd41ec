#include "app/completion.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <functional>
#include <map>
#include <string_view>
#include <vector>

#include "app/cli.h"

namespace millrace {
namespace {

enum class ValueKind { kNone, kWord, kFile, kDirectory, kChoice };

struct Flag {
  std::vector<std::string> names;  // With their dashes.
  std::string description;
  ValueKind kind = ValueKind::kNone;
  std::vector<std::string> choices;
};

struct Command {
  std::string path;    // "topics create"; empty for the root.
  std::string parent;  // "topics"
  std::string name;    // "create"
  std::string description;
  std::vector<std::string> below;
  std::vector<Flag> flags;
};

std::string FirstSentence(const std::string& text) { return text.substr(0, text.find(". ")); }

Flag FlagOf(const CLI::Option& option) {
  Flag flag;
  for (const std::string& name : option.get_snames()) flag.names.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) flag.names.push_back("--" + name);
  flag.description = FirstSentence(option.get_description());
  if (option.get_expected_max() == 0) return flag;
  const std::string type = option.get_type_name();
  const std::string shown = type.substr(0, type.find(':'));
  flag.kind = shown == "FILE"  ? ValueKind::kFile
              : shown == "DIR" ? ValueKind::kDirectory
                               : ValueKind::kWord;
  // A set of allowed words shows in the type as "{a,b}".
  const std::size_t open = type.find('{');
  const std::size_t close = type.rfind('}');
  if (open != std::string::npos && close != std::string::npos && open < close) {
    flag.kind = ValueKind::kChoice;
    flag.choices = CLI::detail::split(type.substr(open + 1, close - open - 1), ',');
  }
  return flag;
}

void Collect(const CLI::App& app, std::vector<Command>& out) {
  Command command;
  command.path = CommandName(app);
  if (app.get_parent() != nullptr) {
    command.parent = CommandName(*app.get_parent());
    command.name = app.get_name();
  }
  command.description = FirstSentence(app.get_description());
  for (const CLI::App* sub : app.get_subcommands({})) command.below.push_back(sub->get_name());
  for (const CLI::Option* option :
       app.get_options([](const CLI::Option* o) { return o->nonpositional(); })) {
    command.flags.push_back(FlagOf(*option));
  }
  out.push_back(std::move(command));
  for (const CLI::App* sub : app.get_subcommands({})) Collect(*sub, out);
}

std::vector<Command> CommandsOf(const CLI::App& root) {
  std::vector<Command> commands;
  Collect(root, commands);
  return commands;
}

// `'` closes a shell's quote, so it is written as '\''.
std::string ShellQuoted(std::string_view text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

std::string AllFlagNames(const Command& command) {
  std::string names;
  for (const Flag& flag : command.flags) {
    names += fmt::format("{}{}", names.empty() ? "" : " ", fmt::join(flag.names, " "));
  }
  return names;
}

// The arms of a `case "$command $word"` that follow the words of the command line.
std::string CommandArms(const std::vector<Command>& commands) {
  std::string arms;
  for (const Command& command : commands) {
    if (command.path.empty()) continue;
    arms +=
        fmt::format("      '{} {}') command='{}' ;;\n", command.parent, command.name, command.path);
  }
  return arms;
}

// The arms of a `case "$command $prev"` for flags with a value: `action` says what to offer.
std::string ValueArms(const std::vector<Command>& commands,
                      const std::function<std::string(const Flag&)>& action) {
  std::map<std::string, std::string> patterns;  // Action to pattern.
  for (const Command& command : commands) {
    for (const Flag& flag : command.flags) {
      if (flag.kind == ValueKind::kNone) continue;
      std::string& pattern = patterns[action(flag)];
      for (const std::string& name : flag.names) {
        pattern += fmt::format("{}'{} {}'", pattern.empty() ? "" : " | ", command.path, name);
      }
    }
  }
  std::string arms;
  for (const auto& [act, pattern] : patterns) {
    arms += fmt::format("    {})\n      {}\n      return ;;\n", pattern, act);
  }
  return arms;
}

}  // namespace

std::string BashCompletion(const CLI::App& root) {
  const std::vector<Command> commands = CommandsOf(root);
  std::string words;
  for (const Command& command : commands) {
    words += fmt::format("    '{}') words='{}'; flags='{}' ;;\n", command.path,
                         fmt::join(command.below, " "), AllFlagNames(command));
  }
  const std::string values = ValueArms(commands, [](const Flag& flag) -> std::string {
    switch (flag.kind) {
      case ValueKind::kFile:
        return R"(compopt -o filenames; COMPREPLY=($(compgen -f -- "$cur")))";
      case ValueKind::kDirectory:
        return R"(compopt -o filenames; COMPREPLY=($(compgen -d -- "$cur")))";
      case ValueKind::kChoice:
        return fmt::format(R"(COMPREPLY=($(compgen -W '{}' -- "$cur")))",
                           fmt::join(flag.choices, " "));
      default:
        return "COMPREPLY=()";
    }
  });
  return "# bash completion for millrace: source <(millrace completion bash)\n"
         "_millrace() {\n"
         "  local cur=\"${COMP_WORDS[COMP_CWORD]}\" prev=\"${COMP_WORDS[COMP_CWORD-1]}\"\n"
         "  local command='' words='' flags='' i\n"
         "  COMPREPLY=()\n"
         "  for ((i = 1; i < COMP_CWORD; i++)); do\n"
         "    case \"$command ${COMP_WORDS[i]}\" in\n" +
         CommandArms(commands) +
         "    esac\n  done\n"
         "  case \"$command $prev\" in\n" +
         values +
         "  esac\n"
         "  case \"$command\" in\n" +
         words +
         "  esac\n"
         "  if [[ $cur == -* ]]; then\n"
         "    COMPREPLY=($(compgen -W \"$flags\" -- \"$cur\"))\n"
         "  elif [[ -n $words ]]; then\n"
         "    COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
         "  else\n"
         "    compopt -o filenames\n"
         "    COMPREPLY=($(compgen -f -- \"$cur\"))\n"
         "  fi\n"
         "}\n"
         "complete -F _millrace millrace\n";
}

std::string ZshCompletion(const CLI::App& root) {
  const std::vector<Command> commands = CommandsOf(root);
  std::string words;
  for (const Command& command : commands) {
    words += fmt::format("    '{}')\n", command.path);
    for (const Command& sub : commands) {
      if (sub.path.empty() || sub.parent != command.path) continue;
      words += "      words_below+=(" + ShellQuoted(sub.name + ":" + sub.description) + ")\n";
    }
    words += fmt::format("      flags=({}) ;;\n", AllFlagNames(command));
  }
  const std::string values = ValueArms(commands, [](const Flag& flag) -> std::string {
    switch (flag.kind) {
      case ValueKind::kFile:
        return "_files";
      case ValueKind::kDirectory:
        return "_files -/";
      case ValueKind::kChoice:
        return fmt::format("compadd -- {}", fmt::join(flag.choices, " "));
      default:
        return "_message 'value'";
    }
  });
  return "#compdef millrace\n"
         "# zsh completion for millrace: source <(millrace completion zsh)\n"
         "_millrace() {\n"
         "  local command='' prev=\"${words[CURRENT-1]}\" i\n"
         "  local -a words_below flags\n"
         "  for ((i = 2; i < CURRENT; i++)); do\n"
         "    case \"$command ${words[i]}\" in\n" +
         CommandArms(commands) +
         "    esac\n  done\n"
         "  case \"$command $prev\" in\n" +
         values +
         "  esac\n"
         "  case \"$command\" in\n" +
         words +
         "  esac\n"
         "  if [[ ${words[CURRENT]} == -* ]]; then\n"
         "    compadd -- $flags\n"
         "  elif (( ${#words_below} )); then\n"
         "    _describe command words_below\n"
         "  else\n"
         "    _files\n"
         "  fi\n"
         "}\n"
         "compdef _millrace millrace\n";
}

std::string FishCompletion(const CLI::App& root) {
  const std::vector<Command> commands = CommandsOf(root);
  std::string out =
      "# fish completion for millrace: millrace completion fish | source\n"
      "function __millrace_at\n"
      "  set -l command ''\n"
      "  for word in (commandline -opc)[2..-1]\n"
      "    switch \"$command $word\"\n";
  for (const Command& command : commands) {
    if (command.path.empty()) continue;
    out += fmt::format("      case '{} {}'\n        set command '{}'\n", command.parent,
                       command.name, command.path);
  }
  out +=
      "    end\n  end\n"
      "  test \"$command\" = \"$argv\"\n"
      "end\n";
  for (const Command& command : commands) {
    const std::string at =
        fmt::format("complete -c millrace -n \"__millrace_at '{}'\"", command.path);
    for (const Command& sub : commands) {
      if (sub.path.empty() || sub.parent != command.path) continue;
      out += fmt::format("{} -f -a {} -d {}\n", at, sub.name, ShellQuoted(sub.description));
    }
    for (const Flag& flag : command.flags) {
      out += at;
      for (const std::string& name : flag.names) {
        out += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
      }
      if (flag.kind == ValueKind::kChoice) {
        out += fmt::format(" -x -a '{}'", fmt::join(flag.choices, " "));
      } else if (flag.kind == ValueKind::kDirectory) {
        out += " -x -a '(__fish_complete_directories)'";
      } else if (flag.kind == ValueKind::kFile) {
        out += " -r -F";
      } else if (flag.kind == ValueKind::kWord) {
        out += " -x";
      }
      out += " -d " + ShellQuoted(flag.description) + "\n";
    }
  }
  return out;
}

}  // namespace millrace
