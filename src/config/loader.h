// LoadSettings: fills the fields behind a SettingSet from files, environment and flags.
//
// default < file (later wins) < environment < flag. Everything that is wrong is collected, with
// where it stood, so that one run shows all of it. Values go straight into the options that the set
// is bound to; when there are errors the options are not fit for use. Not thread-safe; used at
// start only. Never writes anywhere, and never puts a secret into a message.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/settings.h"
#include "base/status.h"

namespace millrace {

// More errors than this are counted, not listed.
inline constexpr std::size_t kMaxListedErrors = 100;

// A value given on the command line.
struct FlagValue {
  std::string flag;  // As a user would name it in an error: "-s", "--brokers".
  std::string path;
  std::string value;
};

struct SettingSources {
  std::vector<std::string> files;
  // The process's environment: settings' variables, and what ${...} in files may name.
  std::map<std::string, std::string> environment;
  std::vector<FlagValue> flags;
};

struct LoadedSetting {
  Setting setting;                // With its full path; bound to the options.
  std::vector<std::string> keys;  // The path's parts; a map entry's name is one part.
  std::string origin;             // "default", "settings.yaml:3", "MILLRACE_...", "-s".
};

struct LoadedSettings {
  std::vector<std::string> errors;  // "settings.yaml:3: batch.max_rows: must be ...".
  std::vector<std::string> warnings;
  std::vector<LoadedSetting> settings;  // In the order declared; then map entries.

  bool ok() const { return errors.empty(); }
  // kConfiguration with all errors, one a line; OK when there is none.
  Status status() const;
  // Null when there is no such setting.
  const LoadedSetting* Find(std::string_view path) const;
};

// `set` and the options behind it must outlive what is returned.
LoadedSettings LoadSettings(SettingSet& set, const SettingSources& sources);

// "path=value" of -s. Errors: kInvalidArgument.
Result<FlagValue> ParseFlagAssignment(std::string flag, std::string_view text);

// This process's environment.
std::map<std::string, std::string> ProcessEnvironment();

}  // namespace millrace
