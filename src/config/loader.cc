#include "config/loader.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <optional>
#include <utility>

#include "config/environment.h"
#include "config/relations.h"
#include "config/setting_index.h"
#include "config/substitute.h"
#include "config/yaml_scalars.h"

namespace millrace {
namespace {

constexpr std::size_t kMaxSecretFileBytes = 64 << 10;

Result<std::string> ReadSecretFile(const std::string& file) {
  errno = 0;
  std::ifstream in(file, std::ios::binary);
  std::string text(kMaxSecretFileBytes + 1, '\0');
  if (in) in.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!in.is_open() || in.bad()) {
    return Status(StatusCode::kInvalidArgument,
                  fmt::format("cannot read the file '{}': {}", file, std::strerror(errno)));
  }
  text.resize(static_cast<std::size_t>(in.gcount()));
  if (text.size() > kMaxSecretFileBytes) {
    return Status(StatusCode::kInvalidArgument,
                  fmt::format("the file '{}' is over {} bytes", file, kMaxSecretFileBytes));
  }
  // Editors end a file with a newline that is no part of the secret.
  if (text.ends_with('\n')) text.pop_back();
  if (text.ends_with('\r')) text.pop_back();
  return text;
}

// What a setting holds, for comparing two of the same kind.
std::int64_t Magnitude(const Setting& setting) {
  const std::string text = setting.get();
  if (setting.type == SettingType::kDuration) {
    const Result<Millis> value = ParseDuration(text);
    return value.ok() ? value->count() : 0;
  }
  const Result<std::int64_t> value = ParseBytes(text);
  return value.ok() ? *value : 0;
}

class Loading {
 public:
  Loading(SettingSet& set, const SettingSources& sources) : index_(set), sources_(sources) {}

  LoadedSettings Run() {
    for (const std::string& file : sources_.files) LoadFile(file);
    // Flags may name the map entries that a variable means.
    for (const FlagValue& flag : sources_.flags) (void)index_.Find(flag.path).ok();
    LoadEnvironment();
    for (const FlagValue& flag : sources_.flags) Assign(flag.flag, flag.path, flag.value);
    out_.settings = index_.Take();
    CheckRelations();
    if (out_.errors.size() > kMaxListedErrors) {
      const std::size_t more = out_.errors.size() - kMaxListedErrors;
      out_.errors.resize(kMaxListedErrors);
      out_.errors.push_back(fmt::format("and {} more", more));
    }
    return std::move(out_);
  }

 private:
  void Error(const std::string& where, const std::string& path, std::string_view what) {
    out_.errors.push_back(fmt::format("{}: {}: {}", where, path, what));
  }

  void LoadFile(const std::string& file) {
    YamlScalars read = ReadYamlScalars(
        file, [this](const std::string& path) { return index_.TakesMapping(path); });
    out_.errors.insert(out_.errors.end(), read.errors.begin(), read.errors.end());
    const VariableLookup lookup = [this](const std::string& name) -> std::optional<std::string> {
      const auto found = sources_.environment.find(name);
      if (found == sources_.environment.end()) return std::nullopt;
      return found->second;
    };
    for (const YamlScalar& scalar : read.scalars) {
      const std::string where = fmt::format("{}:{}", file, scalar.line);
      if (scalar.kind == YamlScalar::Kind::kNull && index_.IsSection(scalar.path)) continue;
      if (scalar.kind == YamlScalar::Kind::kMapping) {
        AssignMapping(where, scalar, lookup);
        continue;
      }
      if (scalar.kind != YamlScalar::Kind::kScalar) {
        const Result<SettingIndex::Match> match = index_.Find(scalar.path);
        Error(where, scalar.path,
              !match.ok()                              ? match.status().message()
              : scalar.kind == YamlScalar::Kind::kList ? "expected one value, got a list"
                                                       : "has no value");
        continue;
      }
      const Result<std::string> value = SubstituteVariables(scalar.text, lookup);
      if (!value.ok()) {
        Error(where, scalar.path, value.status().message());
        continue;
      }
      Assign(where, scalar.path, *value);
    }
  }

  void AssignMapping(const std::string& where, const YamlScalar& mapping,
                     const VariableLookup& lookup) {
    std::vector<std::pair<std::string, std::string>> parts;
    for (const auto& [key, text] : mapping.parts) {
      const Result<std::string> value = SubstituteVariables(text, lookup);
      if (!value.ok()) {
        Error(where, mapping.path + "." + key, value.status().message());
        return;
      }
      parts.emplace_back(key, *value);
    }
    Assign(where, mapping.path, MappingText(parts));
  }

  void LoadEnvironment() {
    for (const auto& [name, value] : sources_.environment) {
      if (!name.starts_with(kEnvironmentPrefix) || IsReservedEnvironmentName(name)) continue;
      const Result<std::string> path = index_.PathOfVariable(name);
      if (path.ok()) {
        Assign(name, *path, value);
      } else if (path.status().code() == StatusCode::kNotFound) {
        out_.warnings.push_back(
            fmt::format("environment variable {}: {}", name, path.status().message()));
      } else {
        out_.errors.push_back(fmt::format("{}: {}", name, path.status().message()));
      }
    }
  }

  void Assign(const std::string& where, const std::string& path, const std::string& value) {
    const Result<SettingIndex::Match> match = index_.Find(path);
    if (!match.ok()) {
      Error(where, path, match.status().message());
      return;
    }
    LoadedSetting& target = *match->setting;
    Status set;
    if (match->from_file) {
      Result<std::string> secret = ReadSecretFile(value);
      set = secret.ok() ? target.setting.set(*secret) : secret.status();
    } else {
      set = target.setting.set(value);
    }
    if (set.ok()) {
      target.origin = where;
    } else if (target.setting.secret && !match->from_file) {
      Error(where, path, "the value is not valid (it is secret and not shown)");
    } else {
      Error(where, path, set.message());
    }
  }

  void CheckRelations() {
    for (const SettingOrder& order : SettingOrders()) {
      const LoadedSetting* smaller = out_.Find(order.smaller);
      const LoadedSetting* larger = out_.Find(order.larger);
      if (smaller == nullptr || larger == nullptr) continue;
      if (Magnitude(smaller->setting) <= Magnitude(larger->setting)) continue;
      // What follows from another setting is looked at where it is derived.
      if (Magnitude(larger->setting) == 0) continue;
      const LoadedSetting* given = smaller->origin == "default" ? larger : smaller;
      out_.errors.push_back(fmt::format("{}: {} ({}) must not be over {} ({}): {}", given->origin,
                                        order.smaller, smaller->setting.get(), order.larger,
                                        larger->setting.get(), order.why));
    }
  }

  SettingIndex index_;
  const SettingSources& sources_;
  LoadedSettings out_;
};

}  // namespace

Status LoadedSettings::status() const {
  if (ok()) return {};
  return {StatusCode::kConfiguration, fmt::format("{}", fmt::join(errors, "\n"))};
}

const LoadedSetting* LoadedSettings::Find(std::string_view path) const {
  for (const LoadedSetting& loaded : settings) {
    if (loaded.setting.path == path) return &loaded;
  }
  return nullptr;
}

LoadedSettings LoadSettings(SettingSet& set, const SettingSources& sources) {
  return Loading(set, sources).Run();
}

Result<FlagValue> ParseFlagAssignment(std::string flag, std::string_view text) {
  const std::size_t equals = text.find('=');
  if (equals == std::string_view::npos || equals == 0) {
    return Status(StatusCode::kInvalidArgument,
                  fmt::format("{}: expected name=value, got '{}'", flag, text));
  }
  return FlagValue{std::move(flag), std::string(text.substr(0, equals)),
                   std::string(text.substr(equals + 1))};
}

std::map<std::string, std::string> ProcessEnvironment() {
  std::map<std::string, std::string> out;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const std::size_t equals = text.find('=');
    if (equals == std::string_view::npos || equals == 0) continue;
    out.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  return out;
}

}  // namespace millrace
