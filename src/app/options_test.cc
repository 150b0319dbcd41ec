#include "app/options.h"

#include <gtest/gtest.h>

#include <string>

#include "config/loader.h"
#include "config/reference.h"
#include "config/relations.h"

namespace millrace {
namespace {

class AllSettingsTest : public ::testing::Test {
 protected:
  AllSettingsTest() { DescribeAllSettings(set_, options_); }

  AllOptions options_;
  SettingSet set_;
};

TEST_F(AllSettingsTest, EveryDefaultIsWithinItsBoundsAndReadsBack) {
  for (const Setting& setting : set_.settings()) {
    const Status status = setting.set(setting.default_text);
    EXPECT_TRUE(status.ok()) << setting.path << ": " << status.message();
    EXPECT_EQ(setting.get(), setting.default_text) << setting.path;
  }
  for (const SettingSet::MapSetting& map : set_.maps()) {
    for (const Setting& setting : map.entry_settings) {
      const Status status = setting.set(setting.default_text);
      EXPECT_TRUE(status.ok()) << map.prefix << ".*." << setting.path << ": " << status.message();
    }
  }
}

TEST_F(AllSettingsTest, EverySettingIsDocumentedInOneLine) {
  for (const Setting& setting : set_.settings()) {
    EXPECT_FALSE(setting.doc.empty()) << setting.path;
    EXPECT_EQ(setting.doc.find('\n'), std::string::npos) << setting.path;
    EXPECT_TRUE(setting.doc.ends_with('.')) << setting.path;
  }
}

TEST_F(AllSettingsTest, DefaultsKeepEveryRelation) {
  const LoadedSettings loaded = LoadSettings(set_, {});
  EXPECT_TRUE(loaded.ok()) << loaded.status().message();
  for (const SettingOrder& order : SettingOrders()) {
    EXPECT_NE(loaded.Find(order.smaller), nullptr) << order.smaller;
    EXPECT_NE(loaded.Find(order.larger), nullptr) << order.larger;
  }
}

TEST_F(AllSettingsTest, ReferenceNamesEverySetting) {
  const std::string reference = SettingsReference(set_);
  for (const Setting& setting : set_.settings()) {
    EXPECT_NE(reference.find("| `" + setting.path + "` |"), std::string::npos) << setting.path;
  }
  EXPECT_NE(reference.find("`MILLRACE_MODELS_<NAME>_MAX_ROWS`"), std::string::npos);
}

}  // namespace
}  // namespace millrace
