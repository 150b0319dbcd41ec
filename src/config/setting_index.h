// SettingIndex: finds the setting that a path or an environment variable means.
//
// Owns the LoadedSettings' list while it grows: the entry of a map ("models.churn.max_rows") is
// bound when it is first named. The set must outlive it. Not thread-safe.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/settings.h"
#include "base/status.h"
#include "config/loader.h"

namespace millrace {

class SettingIndex {
 public:
  explicit SettingIndex(SettingSet& set);

  struct Match {
    LoadedSetting* setting = nullptr;  // Valid until the next call of Find.
    bool from_file = false;            // "<secret>_file" was named.
  };

  // The setting at `path`, making the map entry that it names. The error says what is wrong with
  // the path and which one was meant.
  Result<Match> Find(const std::string& path);

  // The path that the variable `name` sets. kNotFound: no setting; kInvalidArgument: several.
  Result<std::string> PathOfVariable(const std::string& name) const;

  // Whether the setting at `path` may be given as a mapping. Makes no entry.
  bool TakesMapping(const std::string& path) const;
  // True when settings stand below `path`.
  bool IsSection(std::string_view path) const;
  // True when `path` itself is a setting that is not in a map.
  bool IsPlainSetting(std::string_view path) const { return plain_.contains(std::string(path)); }

  // All, in the order declared; then map entries by name.
  std::vector<LoadedSetting> Take();

 private:
  struct Entry {
    const SettingSet::MapSetting* map;
    std::vector<LoadedSetting> settings;
  };

  LoadedSetting* FindInMaps(const std::string& path);
  LoadedSetting* InEntry(const SettingSet::MapSetting& map, const std::string& name,
                         const std::string& key);
  std::string Suggestion(const std::string& path) const;

  std::vector<LoadedSetting> settings_;
  std::map<std::string, std::size_t> plain_;      // Path to its place in settings_.
  std::map<std::string, std::string> variables_;  // Variable to path.
  const std::vector<SettingSet::MapSetting>& maps_;
  std::map<std::string, Entry> entries_;  // By "prefix.name".
};

}  // namespace millrace
