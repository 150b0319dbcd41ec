#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <string>

#include "app/command.h"
#include "codec/json_writer.h"
#include "config/loader.h"
#include "config/reference.h"

namespace millrace {
namespace {

void PrintWarnings(const CommandContext& context) {
  for (const std::string& warning : context.loaded->warnings) {
    fmt::print(stderr, "millrace {}: warning: {}\n", context.command, warning);
  }
}

int PrintErrors(const CommandContext& context) {
  for (const std::string& error : context.loaded->errors) fmt::print(stderr, "{}\n", error);
  fmt::print(stderr, "millrace {}: {}\n", context.command,
             context.loaded->errors.size() == 1
                 ? "1 setting is wrong"
                 : fmt::format("{} settings are wrong", context.loaded->errors.size()));
  return kExitConfiguration;
}

void AppendStrings(JsonWriter& json, std::string_view name, const std::vector<std::string>& texts) {
  json.Key(name).BeginArray();
  for (const std::string& text : texts) json.Value(text);
  json.EndArray();
}

int Check(CommandContext& context) {
  const LoadedSettings& loaded = *context.loaded;
  if (context.output == OutputFormat::kJson) {
    std::string out;
    JsonWriter json(out);
    json.BeginObject().Member("ok", loaded.ok());
    AppendStrings(json, "errors", loaded.errors);
    AppendStrings(json, "warnings", loaded.warnings);
    json.EndObject();
    fmt::print("{}\n", out);
    return loaded.ok() ? kExitOk : kExitConfiguration;
  }
  PrintWarnings(context);
  if (!loaded.ok()) return PrintErrors(context);
  std::string given;
  int count = 0;
  for (const LoadedSetting& one : loaded.settings) {
    if (one.origin == "default") continue;
    ++count;
    given +=
        fmt::format("  {} = {}  ({})\n", one.setting.path, ShownValue(one.setting), one.origin);
  }
  fmt::print("configuration is valid: {} settings, {} given\n{}", loaded.settings.size(), count,
             given);
  return kExitOk;
}

void AppendTyped(JsonWriter& json, const Setting& setting) {
  const bool plain = setting.type == SettingType::kBool || setting.type == SettingType::kInteger ||
                     setting.type == SettingType::kNumber;
  if (plain) {
    json.Raw(setting.get());
  } else {
    json.Value(ShownValue(setting));
  }
}

int Dump(CommandContext& context, bool origins) {
  PrintWarnings(context);
  if (!context.loaded->ok()) return PrintErrors(context);
  if (context.output == OutputFormat::kTable) {
    fmt::print("{}", DumpYaml(*context.loaded, origins));
    return kExitOk;
  }
  std::string out;
  JsonWriter json(out);
  json.BeginObject();
  for (const LoadedSetting& one : context.loaded->settings) {
    json.Key(one.setting.path);
    if (origins) json.BeginObject().Key("value");
    AppendTyped(json, one.setting);
    if (origins) json.Member("origin", one.origin).EndObject();
  }
  json.EndObject();
  fmt::print("{}\n", out);
  return kExitOk;
}

// The declarations alone, whatever was loaded.
int PrintDocument(std::string (*document)(const SettingSet&)) {
  AllOptions defaults;
  SettingSet set;
  DescribeAllSettings(set, defaults);
  fmt::print("{}", document(set));
  return kExitOk;
}

}  // namespace

void RegisterConfig(CLI::App& root, CommandTable& table) {
  CLI::App* const config = root.add_subcommand("config", "Check, show and document the settings");
  config->require_subcommand(1);

  CLI::App* const check = config->add_subcommand(
      "check", "Load every setting and say what is wrong. All of it at once, with file and line");
  check->footer(
      "Examples:\n"
      "  millrace config check -c settings.yaml\n"
      "  millrace config check -c base.yaml -c production.yaml -s batch.max_rows=128\n"
      "  millrace config check -c settings.yaml -o json");
  table.commands.emplace_back(check, Check);
  table.settings_use[check] = SettingsUse::kReported;

  CLI::App* const dump = config->add_subcommand(
      "dump", "Print the settings in effect, as YAML that can be loaded again. Secrets are ***");
  auto origins = std::make_shared<bool>(false);
  dump->add_flag("--origin", *origins, "Say of each value where it came from");
  dump->footer(
      "Examples:\n"
      "  millrace config dump > settings.yaml\n"
      "  millrace config dump --origin -c settings.yaml\n"
      "  millrace config dump -o json");
  table.commands.emplace_back(
      dump, [origins](CommandContext& context) { return Dump(context, *origins); });
  table.settings_use[dump] = SettingsUse::kReported;

  CLI::App* const schema =
      config->add_subcommand("schema", "Print the JSON Schema of a settings file, for editors");
  schema->footer("Examples:\n  millrace config schema > millrace.schema.json");
  table.commands.emplace_back(schema,
                              [](CommandContext&) { return PrintDocument(SettingsSchema); });
  table.settings_use[schema] = SettingsUse::kNone;

  CLI::App* const reference =
      config->add_subcommand("reference", "Print what every setting does, as Markdown");
  reference->footer("Examples:\n  millrace config reference > docs/reference/settings.md");
  table.commands.emplace_back(reference,
                              [](CommandContext&) { return PrintDocument(SettingsReference); });
  table.settings_use[reference] = SettingsUse::kNone;
}

}  // namespace millrace
