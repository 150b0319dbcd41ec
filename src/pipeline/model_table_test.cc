#include "pipeline/model_table.h"

#include <gtest/gtest.h>

#include <set>

namespace millrace {
namespace {

std::string Key(int i) { return "tenant-" + std::to_string(i) + "|m"; }

class ModelRouteTest : public ::testing::Test {
 protected:
  ModelRouteTest() {
    for (int i = 0; i < 3; ++i) {
      auto loaded = std::make_shared<LoadedModel>();
      loaded->ref = {"m", std::to_string(i + 1), ""};
      ModelToServe model;
      model.loaded = std::move(loaded);
      versions_.push_back(std::make_unique<ServedModel>(std::move(model)));
    }
    route_.stable = versions_[0].get();
  }
  std::set<int> CanaryKeys(std::uint32_t share) {
    route_.canary = versions_[1].get();
    route_.canary_keys = share;
    std::set<int> keys;
    for (int i = 0; i < 20'000; ++i) {
      if (route_.Choose(Key(i)) == route_.canary) keys.insert(i);
    }
    return keys;
  }

  std::vector<std::unique_ptr<ServedModel>> versions_;
  ModelRoute route_;
};

TEST_F(ModelRouteTest, ACanaryGetsItsShareOfTheKeysAndKeepsThemAsItGrows) {
  std::set<int> before;
  for (const std::uint32_t percent : {1u, 10u, 50u, 100u}) {
    const std::set<int> keys = CanaryKeys(percent * 100);
    EXPECT_NEAR(static_cast<double>(keys.size()), 200.0 * percent, 20 + 4.0 * percent);
    EXPECT_TRUE(std::includes(keys.begin(), keys.end(), before.begin(), before.end()));
    before = keys;
  }
  EXPECT_EQ(before.size(), 20'000u);
  EXPECT_TRUE(CanaryKeys(0).empty());
}

TEST_F(ModelRouteTest, ARequestThatNamesItsVersionGetsThatOneOrNone) {
  route_.canary = versions_[1].get();
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(route_.Named(std::to_string(i + 1)), versions_[static_cast<std::size_t>(i)].get());
  }
  EXPECT_EQ(route_.Named("3"), nullptr);
}

TEST(ModelTable, RoutesAreTakenOnceTheIndexHasThem) {
  ModelTable table;
  ModelIndex index(table);
  EXPECT_FALSE(table.RoutesTaken());
  EXPECT_TRUE(index.Refresh());
  EXPECT_TRUE(table.RoutesTaken());
  EXPECT_FALSE(index.Refresh());
  EXPECT_EQ(index.Find("m"), nullptr);
  ModelRoute route;
  route.absent = "because";
  table.SetRoute("m", route);
  EXPECT_FALSE(table.RoutesTaken());
  EXPECT_EQ(index.Find("m"), nullptr);
  EXPECT_TRUE(index.Refresh());
  EXPECT_TRUE(table.RoutesTaken());
  ASSERT_NE(index.Find("m"), nullptr);
  EXPECT_EQ(index.Find("m")->absent, "because");
}

}  // namespace
}  // namespace millrace
