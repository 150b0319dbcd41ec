#include "base/nearest.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace millrace {
namespace {

const std::vector<std::string> kNames = {"serve", "send", "results", "topics", "verify"};

TEST(NearestNameTest, FindsTheNameThatWasMeant) {
  EXPECT_EQ(NearestName("sevre", kNames), "serve");
  EXPECT_EQ(NearestName("serv", kNames), "serve");
  EXPECT_EQ(NearestName("SEND", kNames), "send");
  EXPECT_EQ(NearestName("topic", kNames), "topics");
  EXPECT_EQ(DidYouMean("verfiy", kNames), "; did you mean 'verify'?");
}

TEST(NearestNameTest, StaysSilentWhenNothingIsNear) {
  EXPECT_EQ(NearestName("dashboard", kNames), "");
  EXPECT_EQ(NearestName("", kNames), "");
  EXPECT_EQ(NearestName("x", kNames), "");
  EXPECT_EQ(NearestName(std::string(1000, 's'), kNames), "");
  EXPECT_EQ(DidYouMean("serve", {}), "");
}

}  // namespace
}  // namespace millrace
