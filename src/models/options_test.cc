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

TEST(ModelSettings, EveryDefaultOfTheRepositoryIsAValueThatCanBeSet) {
  RepositoryOptions options;
  SettingSet set;
  DescribeSettings(set, options);
  for (const Setting& setting : set.settings()) {
    const Status status = setting.set(setting.get());
    EXPECT_TRUE(status.ok()) << setting.path << "=" << setting.get() << ": " << status.ToString();
    EXPECT_EQ(setting.secret, setting.path == "repository.s3.secret_key" ||
                                  setting.path == "repository.s3.session_token")
        << setting.path;
  }
}

TEST(SplitList, TakesWhatIsBetweenCommas) {
  EXPECT_EQ(SplitList(" a ,b,, c d ,"), (std::vector<std::string>{"a", "b", "c d"}));
  EXPECT_TRUE(SplitList("").empty());
  EXPECT_TRUE(SplitList(" , ").empty());
}

}  // namespace
}  // namespace millrace
