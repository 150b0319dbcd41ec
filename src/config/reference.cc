#include "config/reference.h"

#include <fmt/format.h>

#include <string_view>

#include "config/environment.h"
#include "config/relations.h"
#include "config/setting_tree.h"

namespace millrace {
namespace {

constexpr std::string_view kMask = "***";

std::string_view TypeName(SettingType type) {
  switch (type) {
    case SettingType::kBool:
      return "bool";
    case SettingType::kInteger:
      return "integer";
    case SettingType::kNumber:
      return "number";
    case SettingType::kString:
      return "string";
    case SettingType::kEnum:
      return "enum";
    case SettingType::kDuration:
      return "duration";
    case SettingType::kBytes:
      return "bytes";
  }
  return "";
}

std::string Cell(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '|') out.push_back('\\');
    out.push_back(c);
  }
  return out;
}

std::string Code(std::string_view text) {
  return text.empty() ? std::string() : fmt::format("`{}`", text);
}

// "models" and "max_rows" as "models.<id>.max_rows".
std::string EntryPath(const SettingSet::MapSetting& map, const Setting& setting) {
  return map.prefix + ".<name>" + (setting.path.empty() ? "" : "." + setting.path);
}

void AppendRow(const std::string& path, const Setting& setting, std::string& out) {
  const std::string bounds = setting.type == SettingType::kEnum
                                 ? fmt::format("`{}`", fmt::join(setting.choices, "` `"))
                                 : Code(setting.bounds_text);
  const std::size_t name = path.find("<name>");
  std::string variable = EnvironmentName(path.substr(0, name));
  if (name != std::string::npos) {
    variable += "<NAME>" + EnvironmentName(path.substr(name + 6)).substr(kEnvironmentPrefix.size());
  }
  out += fmt::format("| `{}` | {}{} | {} | {} | `{}` | {} |\n", path, TypeName(setting.type),
                     setting.secret ? ", secret" : "",
                     setting.default_text.empty() ? "empty" : Code(setting.default_text),
                     Cell(bounds), variable, Cell(setting.doc));
}

// A string in JSON's quotes; YAML reads the same.
std::string Quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out.push_back('\\');
      out.push_back(c);
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else {
      out.push_back(c);
    }
  }
  return out + "\"";
}

// What a value of this type looks like in a file, besides a variable.
std::string SchemaShape(const Setting& setting) {
  const std::string bounds =
      setting.min ? fmt::format(R"(, "minimum": {}, "maximum": {})", *setting.min, *setting.max)
                  : std::string();
  switch (setting.type) {
    case SettingType::kBool:
      return R"({"type": "boolean"})";
    case SettingType::kInteger:
      return R"({"type": "integer")" + bounds + "}";
    case SettingType::kNumber:
      return R"({"type": "number")" + bounds + "}";
    case SettingType::kString:
      return std::string(R"({"type": ["string", "number", "boolean"]})") +
             (setting.takes_mapping
                  ? R"(, {"type": "object", "additionalProperties": {"type": "string"}})"
                  : "");
    case SettingType::kEnum: {
      std::string names;
      for (const std::string& name : setting.choices) {
        names += (names.empty() ? "" : ", ") + Quoted(name);
      }
      return R"({"enum": [)" + names + "]}";
    }
    case SettingType::kDuration:
      return R"({"type": "integer")" + bounds + R"(}, {"$ref": "#/$defs/duration"})";
    case SettingType::kBytes:
      return R"({"type": "integer")" + bounds + R"(}, {"$ref": "#/$defs/bytes"})";
  }
  return "{}";
}

std::string SchemaDefault(const Setting& setting) {
  const bool plain = setting.type == SettingType::kBool || setting.type == SettingType::kInteger ||
                     setting.type == SettingType::kNumber;
  return plain ? setting.default_text : Quoted(setting.default_text);
}

std::string SchemaLeaf(const Setting& setting) {
  std::string doc = setting.doc;
  if (!setting.bounds_text.empty()) doc += fmt::format(" ({})", setting.bounds_text);
  return fmt::format(
      R"({{"description": {}, "default": {}, "anyOf": [{}, {{"$ref": "#/$defs/variable"}}]}})",
      Quoted(doc), SchemaDefault(setting), SchemaShape(setting));
}

std::string SchemaSection(const SettingTree& tree, const std::string& indent) {
  const std::string deeper = indent + "  ";
  std::string properties;
  const auto add = [&](const std::string& key, const std::string& value) {
    properties +=
        fmt::format("{}\n{}  {}: {}", properties.empty() ? "" : ",", deeper, Quoted(key), value);
  };
  for (const SettingTree& node : tree.below) {
    if (node.setting == nullptr) {
      add(node.key, SchemaSection(node, deeper + "  "));
      continue;
    }
    add(node.key, SchemaLeaf(*node.setting));
    if (node.setting->secret) {
      add(node.key + "_file",
          R"({"type": "string", "description": "File with the value of )" + node.key + "\"}");
    }
  }
  std::string others = "false";
  SettingTree entry;
  if (tree.map != nullptr) {
    for (const Setting& setting : tree.map->entry_settings) {
      if (setting.path.empty()) {
        others = SchemaLeaf(setting);
      } else {
        entry.At(SplitSettingPath(setting.path)).setting = &setting;
      }
    }
    if (!entry.below.empty()) others = SchemaSection(entry, deeper);
  }
  // An empty section is null to YAML.
  return fmt::format(
      "{{\n{0}\"type\": [\"object\", \"null\"],\n{0}\"additionalProperties\": {1},\n"
      "{0}\"properties\": {{{2}\n{0}}}\n{3}}}",
      deeper, others, properties, indent);
}

bool IsPlainWord(std::string_view text) {
  return !text.empty() &&
         text.find_first_not_of(
             "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") ==
             std::string_view::npos &&
         text[0] != '-' && text[0] != '.';
}

std::string YamlValue(const Setting& setting) {
  std::string value = ShownValue(setting);
  if (setting.type != SettingType::kString) return value;
  std::string escaped;
  for (const char c : value) escaped.append(c == '$' ? 2 : 1, c);
  return Quoted(escaped);
}

void AppendYaml(const SettingTree& tree, const std::string& indent, bool origins,
                std::string& out) {
  for (const SettingTree& node : tree.below) {
    out += indent + (IsPlainWord(node.key) ? node.key : Quoted(node.key)) + ":";
    if (node.setting != nullptr) {
      out += " " + YamlValue(*node.setting);
      if (origins && node.loaded != nullptr) out += "  # " + node.loaded->origin;
    }
    out += "\n";
    AppendYaml(node, indent + "  ", origins, out);
  }
}

}  // namespace

std::string ShownValue(const Setting& setting) {
  std::string value = setting.get();
  return setting.secret && !value.empty() ? std::string(kMask) : value;
}

std::string SettingsReference(const SettingSet& set) {
  std::string out =
      "# Settings\n\n"
      "Made by `millrace config reference`; change the declarations in `src/*/options.cc` instead."
      "\n\n"
      "A setting is read from its default, then from the files of `-c` (later wins), then from "
      "its\n"
      "environment variable, then from `-s name=value` or its own flag. In a file, `${NAME}`,\n"
      "`${NAME:-default}` and `${NAME:?message}` stand for variables, `$$` for a dollar sign.\n"
      "A secret may also be read from the file that `<name>_file` names. Durations are written\n"
      "`50ms`, `5s`, `2m`, `1h`, `7d` (a bare number is milliseconds), sizes `64MiB`, `8KiB`,\n"
      "`16MB` (a bare number is bytes).\n";
  constexpr std::string_view kHead =
      "\n| setting | type | default | bounds | environment variable | what it does |\n"
      "|---|---|---|---|---|---|\n";
  for (const SettingTree& section : TreeOf(set).below) {
    out += fmt::format("\n## {}\n{}", section.key, kHead);
    for (const Setting& setting : set.settings()) {
      if (SplitSettingPath(setting.path)[0] == section.key) AppendRow(setting.path, setting, out);
    }
    for (const SettingSet::MapSetting& map : set.maps()) {
      if (SplitSettingPath(map.prefix)[0] != section.key) continue;
      for (const Setting& setting : map.entry_settings) {
        AppendRow(EntryPath(map, setting), setting, out);
      }
    }
  }
  out += "\n## Between settings\n\n";
  for (const SettingOrder& order : SettingOrders()) {
    out += fmt::format("- `{}` is at most `{}`: {}.\n", order.smaller, order.larger, order.why);
  }
  return out;
}

std::string SettingsSchema(const SettingSet& set) {
  const std::string root = SchemaSection(TreeOf(set), "");
  return R"({
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "title": "Millrace settings",
  "$defs": {
    "variable": {"type": "string", "pattern": "\\$\\{.+\\}"},
    "duration": {"type": "string", "pattern": "^-?[0-9]+(\\.[0-9]+)? *(ms|s|m|h|d)?$"},
    "bytes": {"type": "string", "pattern": "^[0-9]+(\\.[0-9]+)? *([kKmMgGtT]?[iI]?[bB])?$"}
  },)" + root.substr(1) +
         "\n";
}

std::string DumpYaml(const LoadedSettings& loaded, bool origins) {
  std::string out;
  AppendYaml(TreeOf(loaded), "", origins, out);
  return out;
}

}  // namespace millrace
