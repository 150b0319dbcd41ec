#include "transport/options.h"

#include <gtest/gtest.h>

namespace millrace {
namespace {

const Setting* Find(const SettingSet& set, std::string_view path) {
  for (const Setting& setting : set.settings()) {
    if (setting.path == path) return &setting;
  }
  return nullptr;
}

TEST(TransportOptions, SettingsReachTheirFields) {
  TransportOptions options;
  SettingSet set;
  DescribeSettings(set, options);
  const std::pair<std::string_view, std::string_view> values[] = {
      {"transport", "local"},      {"kafka.group", "g"},           {"topics.requests", "in"},
      {"topics.results", "out"},   {"topics.dlq", "bad"},          {"topics.events", "models"},
      {"local.dir", "/somewhere"}, {"local.durability", "normal"},
  };
  for (const auto& [path, value] : values) {
    const Setting* setting = Find(set, path);
    ASSERT_NE(setting, nullptr) << path;
    EXPECT_TRUE(setting->set(value).ok()) << path;
    EXPECT_EQ(setting->get(), value) << path;
  }
  EXPECT_EQ(options.kind, TransportKind::kLocal);
  EXPECT_EQ(options.group, "g");
  EXPECT_EQ(options.topics.requests, "in");
  EXPECT_EQ(options.topics.results, "out");
  EXPECT_EQ(options.topics.dlq, "bad");
  EXPECT_EQ(options.topics.events, "models");
  EXPECT_EQ(options.local.dir, "/somewhere");
  EXPECT_EQ(options.local.durability, LocalDurability::kNormal);
}

TEST(TransportOptions, DurabilityIsFullUnlessAskedOtherwise) {
  TransportOptions options;
  SettingSet set;
  DescribeSettings(set, options);
  EXPECT_EQ(Find(set, "local.durability")->default_text, "full");
  EXPECT_FALSE(Find(set, "local.durability")->set("none").ok());
}

}  // namespace
}  // namespace millrace
