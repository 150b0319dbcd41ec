#include "app/help_formatter.h"

#include <CLI/CLI.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace millrace {
namespace {

constexpr std::size_t kNameColumn = 30;
constexpr std::size_t kHelpColumns = 100;

// A longer list of allowed words is part of the description, where it can be wrapped.
constexpr std::size_t kLongChoices = 24;

// Appends the words of `text`, wrapped between the columns `indent` and kHelpColumns. `column` is
// where the text stands at the start.
void AppendWrapped(std::string_view text, std::size_t indent, std::size_t column,
                   std::string& out) {
  bool first = true;
  while (!text.empty()) {
    const std::size_t space = text.find_first_of(" \n");
    const std::string_view word = text.substr(0, space);
    text.remove_prefix(space == std::string_view::npos ? text.size() : space + 1);
    if (!first && column + 1 + word.size() > kHelpColumns) {
      out.push_back('\n');
      column = 0;
      first = true;
    }
    const std::size_t gap = first ? indent - column : 1;
    out.append(gap, ' ').append(word);
    column += gap + word.size();
    first = false;
  }
  out.push_back('\n');
}

// "  name      description", the description wrapped in its own column.
std::string TwoColumns(const std::string& name, std::string_view description) {
  std::string out = "  " + name;
  std::size_t column = out.size();
  if (column + 1 >= kNameColumn && !description.empty()) {
    out.push_back('\n');
    column = 0;
  }
  AppendWrapped(description, kNameColumn, column, out);
  return out;
}

// The words that a check allows, from "TEXT:{table,json}"; empty when there is no such check.
std::string Choices(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  const std::size_t open = type.find('{');
  const std::size_t close = type.rfind('}');
  if (open == std::string::npos || close == std::string::npos || close < open) return {};
  return type.substr(open + 1, close - open - 1);
}

std::string Replaced(std::string text, char from, std::string_view to) {
  for (std::size_t at = text.find(from); at != std::string::npos;
       at = text.find(from, at + to.size())) {
    text.replace(at, 1, to);
  }
  return text;
}

class HelpFormatter final : public CLI::Formatter {
 public:
  HelpFormatter() { column_width(kNameColumn); }

  std::string make_help(const CLI::App* app, std::string name,
                        CLI::AppFormatMode mode) const override {
    if (mode == CLI::AppFormatMode::Sub) return make_expanded(app);
    std::string out;
    AppendWrapped(app->get_description(), 0, 0, out);
    out += "\n" + make_usage(app, name);
    out += make_positionals(app);
    std::string commands = make_subcommands(app, mode);
    if (const std::size_t at = commands.find("Subcommands:"); at != std::string::npos) {
      commands.replace(at, 4, "C");
    }
    out += commands;
    for (const std::string& group : app->get_groups()) {
      const std::vector<const CLI::Option*> options =
          app->get_options([&group](const CLI::Option* option) {
            return option->get_group() == group && option->nonpositional();
          });
      if (!group.empty() && !options.empty()) out += make_group(group, false, options);
    }
    const std::string footer = app->get_footer();
    if (!footer.empty()) out += "\n" + footer + (footer.back() == '\n' ? "" : "\n");
    return out;
  }

  std::string make_usage(const CLI::App* app, std::string name) const override {
    std::string out = "Usage: " + name;
    if (!app->get_subcommands({}).empty()) return out + " COMMAND [flags]\n";
    out += " [flags]";
    for (const CLI::Option* option :
         app->get_options([](const CLI::Option* o) { return o->get_positional(); })) {
      out += " " + make_option_usage(option);
    }
    return out + "\n";
  }

  std::string make_subcommand(const CLI::App* sub) const override {
    // The first sentence; the rest is in the command's own help.
    const std::string description = sub->get_description();
    return TwoColumns(sub->get_name(), description.substr(0, description.find(". ")));
  }

  std::string make_option(const CLI::Option* option, bool positional) const override {
    std::string name = option->get_name(positional, !positional);
    name = Replaced(std::move(name), ',', ", ");
    if (!positional && name.starts_with("--")) name = "    " + name;
    std::string description = option->get_description();
    if (const std::string choices = Choices(*option); choices.size() > kLongChoices) {
      description += ": " + Replaced(choices, ',', ", ");
    }
    return TwoColumns(name + make_option_opts(option), description);
  }

  std::string make_option_opts(const CLI::Option* option) const override {
    if (!option->get_option_text().empty()) return " " + option->get_option_text();
    if (option->get_type_size() == 0 || option->get_positional()) return {};
    const std::string type = option->get_type_name();
    if (const std::string choices = Choices(*option); !choices.empty()) {
      return choices.size() > kLongChoices ? " WORD" : " " + Replaced(choices, ',', "|");
    }
    // What follows the colon is how a check names itself.
    return type.empty() ? "" : " " + type.substr(0, type.find(':'));
  }
};

}  // namespace

std::shared_ptr<CLI::FormatterBase> MakeHelpFormatter() {
  return std::make_shared<HelpFormatter>();
}

}  // namespace millrace
