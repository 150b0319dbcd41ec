#include "app/help_formatter.h"

#include <CLI/CLI.hpp>
#include <string>
#include <string_view>

namespace millrace {
namespace {

constexpr std::size_t kNameColumn = 30;
constexpr std::size_t kHelpColumns = 100;

// "  name      description", the description wrapped in its own column.
std::string TwoColumns(const std::string& name, std::string_view description) {
  std::string out = "  " + name;
  std::size_t column = out.size();
  if (column + 1 >= kNameColumn && !description.empty()) {
    out.push_back('\n');
    column = 0;
  }
  bool first = true;
  while (!description.empty()) {
    const std::size_t space = description.find_first_of(" \n");
    const std::string_view word = description.substr(0, space);
    description.remove_prefix(space == std::string_view::npos ? description.size() : space + 1);
    if (!first && column + 1 + word.size() > kHelpColumns) {
      out.push_back('\n');
      column = 0;
      first = true;
    }
    if (first) {
      out.append(kNameColumn - column, ' ');
      column = kNameColumn;
    } else {
      out.push_back(' ');
      ++column;
    }
    out.append(word);
    column += word.size();
    first = false;
  }
  out.push_back('\n');
  return out;
}

class HelpFormatter final : public CLI::Formatter {
 public:
  HelpFormatter() { column_width(kNameColumn); }

  std::string make_help(const CLI::App* app, std::string name,
                        CLI::AppFormatMode mode) const override {
    if (mode == CLI::AppFormatMode::Sub) return make_expanded(app);
    std::string out = app->get_description() + "\n\n" + make_usage(app, name);
    out += make_positionals(app);
    out += make_subcommands(app, mode);
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
    for (std::size_t at = name.find(','); at != std::string::npos; at = name.find(',', at + 1)) {
      name.insert(at + 1, " ");
    }
    if (!positional && !name.starts_with("-h,") && name.starts_with("--")) name = "    " + name;
    return TwoColumns(name + make_option_opts(option), option->get_description());
  }

  std::string make_option_opts(const CLI::Option* option) const override {
    if (!option->get_option_text().empty()) return " " + option->get_option_text();
    if (option->get_type_size() == 0 || option->get_positional()) return {};
    std::string type = option->get_type_name();
    // A check appends what it accepts: "TEXT:{table,json}" says it best without the first part.
    if (const std::size_t brace = type.find('{'); brace != std::string::npos) {
      type = type.substr(brace + 1, type.rfind('}') - brace - 1);
      for (char& c : type) {
        if (c == ',') c = '|';
      }
    }
    return type.empty() ? "" : " " + type;
  }
};

}  // namespace

std::shared_ptr<CLI::FormatterBase> MakeHelpFormatter() {
  return std::make_shared<HelpFormatter>();
}

}  // namespace millrace
