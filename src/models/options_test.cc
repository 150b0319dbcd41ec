#include "models/options.h"

#include <gtest/gtest.h>

namespace millrace {
namespace {

TEST(ModelSettings, EveryDefaultIsAValueThatCanBeSet) {
  ModelOptions options;
  SettingSet set;
  DescribeModelSettings(set, options);
  ASSERT_FALSE(set.settings().empty());
  for (const Setting& setting : set.settings()) {
    const Status status = setting.set(setting.get());
    EXPECT_TRUE(status.ok()) << setting.path << "=" << setting.get() << ": " << status.ToString();
  }
  EXPECT_EQ(options.max_rows, 0);
  EXPECT_LT(options.max_wait, Millis{0});
  EXPECT_EQ(options.intra_op_threads, 1);
}

TEST(ModelSettings, TheRepositoryHasItsFolder) {
  RepositoryOptions options;
  SettingSet set;
  DescribeSettings(set, options);
  ASSERT_FALSE(set.settings().empty());
  EXPECT_EQ(set.settings()[0].path, "repository.dir");
  ASSERT_TRUE(set.settings()[0].set("/srv/models").ok());
  EXPECT_EQ(options.dir, "/srv/models");
}

}  // namespace
}  // namespace millrace
