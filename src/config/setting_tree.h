// SettingTree: settings as the nested sections that a file has, in the order declared.
//
// Borrows the settings; they must outlive it. Internal to config.
#pragma once

#include <deque>
#include <string>
#include <vector>

#include "base/settings.h"
#include "config/loader.h"

namespace millrace {

struct SettingTree {
  std::string key;
  const Setting* setting = nullptr;             // A leaf; null for a section.
  const LoadedSetting* loaded = nullptr;        // Of a leaf, when it was made from loaded settings.
  const SettingSet::MapSetting* map = nullptr;  // Whatever else stands in this section.
  std::deque<SettingTree> below;

  // The section or leaf below with this key, made when missing.
  SettingTree& At(const std::string& name);
  SettingTree& At(const std::vector<std::string>& keys);
};

// "a.b" as {"a", "b"}.
std::vector<std::string> SplitSettingPath(const std::string& path);

SettingTree TreeOf(const SettingSet& set);
SettingTree TreeOf(const LoadedSettings& loaded);

}  // namespace millrace
