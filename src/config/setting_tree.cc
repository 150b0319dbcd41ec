#include "config/setting_tree.h"

namespace millrace {

SettingTree& SettingTree::At(const std::string& name) {
  for (SettingTree& node : below) {
    if (node.key == name) return node;
  }
  below.emplace_back();
  below.back().key = name;
  return below.back();
}

SettingTree& SettingTree::At(const std::vector<std::string>& keys) {
  SettingTree* node = this;
  for (const std::string& name : keys) node = &node->At(name);
  return *node;
}

std::vector<std::string> SplitSettingPath(const std::string& path) {
  std::vector<std::string> keys;
  std::size_t from = 0;
  for (std::size_t dot = 0; dot != std::string::npos; from = dot + 1) {
    dot = path.find('.', from);
    keys.push_back(path.substr(from, dot == std::string::npos ? dot : dot - from));
  }
  return keys;
}

SettingTree TreeOf(const SettingSet& set) {
  SettingTree root;
  for (const Setting& setting : set.settings()) {
    root.At(SplitSettingPath(setting.path)).setting = &setting;
  }
  for (const SettingSet::MapSetting& map : set.maps()) {
    root.At(SplitSettingPath(map.prefix)).map = &map;
  }
  return root;
}

SettingTree TreeOf(const LoadedSettings& loaded) {
  SettingTree root;
  for (const LoadedSetting& one : loaded.settings) {
    SettingTree& leaf = root.At(one.keys);
    leaf.setting = &one.setting;
    leaf.loaded = &one;
  }
  return root;
}

}  // namespace millrace
