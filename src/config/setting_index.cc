#include "config/setting_index.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>
#include <utility>

#include "base/nearest.h"
#include "config/environment.h"
#include "config/setting_tree.h"

namespace millrace {
namespace {

constexpr std::string_view kFileSuffix = "_file";
// A map of plain values ("kafka.properties.<name>") has one setting per entry, without a name.
constexpr std::string_view kWholeEntry;

// Properties of a library carry its own names, so secrets are known by theirs.
bool NamesASecret(const std::string& property) {
  static constexpr std::array<std::string_view, 5> kWords = {"password", "secret", "token",
                                                             "ssl.key.pem", "sasl.jaas"};
  return std::any_of(kWords.begin(), kWords.end(), [&](std::string_view word) {
    return property.find(word) != std::string::npos;
  });
}

// The entry's name in "<name>.<key>" for the longest key that fits; empty when none does.
std::pair<std::string, std::string> SplitEntry(const SettingSet::MapSetting& map,
                                               const std::string& rest) {
  std::pair<std::string, std::string> best;
  for (const Setting& setting : map.entry_settings) {
    if (setting.path == kWholeEntry) return {rest, ""};
    const std::string tail = "." + setting.path;
    if (rest.size() > tail.size() && rest.ends_with(tail) &&
        setting.path.size() > best.second.size()) {
      best = {rest.substr(0, rest.size() - tail.size()), setting.path};
    }
  }
  return best;
}

}  // namespace

SettingIndex::SettingIndex(SettingSet& set) : maps_(set.maps()) {
  for (const Setting& setting : set.settings()) {
    plain_.emplace(setting.path, settings_.size());
    settings_.push_back({setting, SplitSettingPath(setting.path), "default"});
    variables_.emplace(EnvironmentName(setting.path), setting.path);
    if (setting.secret) {
      const std::string file = setting.path + std::string(kFileSuffix);
      variables_.emplace(EnvironmentName(file), file);
    }
  }
}

bool SettingIndex::IsSection(std::string_view path) const {
  const std::string below = std::string(path) + ".";
  const auto next = plain_.lower_bound(below);
  if (next != plain_.end() && next->first.starts_with(below)) return true;
  return std::any_of(maps_.begin(), maps_.end(), [&](const SettingSet::MapSetting& map) {
    return (map.prefix + ".").starts_with(below);
  });
}

bool SettingIndex::TakesMapping(const std::string& path) const {
  if (const auto found = plain_.find(path); found != plain_.end()) {
    return settings_[found->second].setting.takes_mapping;
  }
  for (const SettingSet::MapSetting& map : maps_) {
    if (!path.starts_with(map.prefix + ".")) continue;
    const std::string key = SplitEntry(map, path.substr(map.prefix.size() + 1)).second;
    for (const Setting& setting : map.entry_settings) {
      if (setting.path == key && setting.takes_mapping) return true;
    }
  }
  return false;
}

Result<SettingIndex::Match> SettingIndex::Find(const std::string& path) {
  if (const auto found = plain_.find(path); found != plain_.end()) {
    return Match{&settings_[found->second], false};
  }
  if (path.ends_with(kFileSuffix)) {
    const std::string secret = path.substr(0, path.size() - kFileSuffix.size());
    if (const auto found = plain_.find(secret);
        found != plain_.end() && settings_[found->second].setting.secret) {
      return Match{&settings_[found->second], true};
    }
  }
  if (LoadedSetting* found = FindInMaps(path)) return Match{found, false};
  if (IsSection(path)) {
    return Status(StatusCode::kInvalidArgument,
                  fmt::format("is a section: it holds settings and has no value of its own"));
  }
  return Status(StatusCode::kNotFound, "unknown setting" + Suggestion(path));
}

LoadedSetting* SettingIndex::FindInMaps(const std::string& path) {
  for (const SettingSet::MapSetting& map : maps_) {
    if (!path.starts_with(map.prefix + ".")) continue;
    const auto [name, key] = SplitEntry(map, path.substr(map.prefix.size() + 1));
    if (!name.empty()) return InEntry(map, name, key);
  }
  return nullptr;
}

LoadedSetting* SettingIndex::InEntry(const SettingSet::MapSetting& map, const std::string& name,
                                     const std::string& key) {
  const std::string prefix = map.prefix + "." + name;
  auto [entry, added] = entries_.try_emplace(prefix, Entry{&map, {}});
  if (added) {
    SettingSet bound;
    map.bind(name, bound);
    for (const Setting& setting : bound.settings()) {
      LoadedSetting loaded{setting, SplitSettingPath(map.prefix), "default"};
      loaded.keys.push_back(name);
      loaded.setting.path = prefix;
      if (setting.path == kWholeEntry) {
        loaded.setting.secret = setting.secret || NamesASecret(name);
      } else {
        loaded.setting.path += "." + setting.path;
        for (std::string& part : SplitSettingPath(setting.path))
          loaded.keys.push_back(std::move(part));
      }
      entry->second.settings.push_back(std::move(loaded));
    }
  }
  const std::string full = key.empty() ? prefix : prefix + "." + key;
  for (LoadedSetting& loaded : entry->second.settings) {
    if (loaded.setting.path == full) return &loaded;
  }
  return nullptr;
}

std::string SettingIndex::Suggestion(const std::string& path) const {
  std::vector<std::string> known;
  for (const auto& [name, place] : plain_) known.push_back(name);
  for (const SettingSet::MapSetting& map : maps_) {
    if (!path.starts_with(map.prefix + ".")) continue;
    // The last key is the misspelt one, whatever the entry is called.
    const std::string entry = path.substr(0, path.rfind('.'));
    const std::string name = entry.size() > map.prefix.size() ? entry : map.prefix + ".<name>";
    for (const Setting& setting : map.entry_settings) known.push_back(name + "." + setting.path);
  }
  const std::string likely = NearestName(path, known);
  if (!likely.empty()) return fmt::format("; did you mean '{}'?", likely);
  // "max_rows" alone: the section was left out.
  for (const std::string& name : known) {
    if (name.ends_with("." + path)) return fmt::format("; did you mean '{}'?", name);
  }
  return "; `millrace config reference` lists all";
}

Result<std::string> SettingIndex::PathOfVariable(const std::string& name) const {
  if (const auto found = variables_.find(name); found != variables_.end()) return found->second;
  for (const SettingSet::MapSetting& map : maps_) {
    const std::string head = EnvironmentName(map.prefix) + "_";
    if (!name.starts_with(head)) continue;
    for (const Setting& setting : map.entry_settings) {
      std::string middle = name.substr(head.size());
      const bool whole = setting.path == kWholeEntry;
      const std::string tail =
          whole ? "" : "_" + EnvironmentName(setting.path).substr(kEnvironmentPrefix.size());
      if (middle.size() <= tail.size() || !middle.ends_with(tail)) continue;
      middle.resize(middle.size() - tail.size());
      // "MY_MODEL" may be my_model, my-model or my.model: an entry that is known decides.
      std::set<std::string> meant;
      for (const auto& [prefix, entry] : entries_) {
        if (entry.map == &map && EnvironmentName(prefix) == head + middle) meant.insert(prefix);
      }
      if (meant.empty() && (whole || middle.find('_') == std::string::npos)) {
        std::string guess = middle;
        std::transform(guess.begin(), guess.end(), guess.begin(), [](char c) {
          return c == '_' ? '.' : (c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c);
        });
        meant.insert(map.prefix + "." + guess);
      }
      if (meant.size() != 1) {
        return Status(StatusCode::kInvalidArgument,
                      fmt::format("does not say which of {} is meant; use -s or a file",
                                  meant.empty() ? map.prefix + ".*"
                                                : fmt::format("{}", fmt::join(meant, ", "))));
      }
      return *meant.begin() + (whole ? "" : "." + setting.path);
    }
  }
  std::vector<std::string> known;
  for (const auto& [variable, path] : variables_) known.push_back(variable);
  return Status(StatusCode::kNotFound, "no setting has this name" + DidYouMean(name, known));
}

std::vector<LoadedSetting> SettingIndex::Take() {
  std::vector<LoadedSetting> all = std::move(settings_);
  for (auto& [prefix, entry] : entries_) {
    for (LoadedSetting& setting : entry.settings) all.push_back(std::move(setting));
  }
  return all;
}

}  // namespace millrace
