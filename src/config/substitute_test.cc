#include "config/substitute.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

namespace millrace {
namespace {

std::optional<std::string> Lookup(const std::string& name) {
  static const std::map<std::string, std::string> kVariables = {
      {"A", "one"}, {"EMPTY", ""}, {"TRICK", "${A}"}};
  const auto found = kVariables.find(name);
  if (found == kVariables.end()) return std::nullopt;
  return found->second;
}

TEST(SubstituteVariablesTest, ReplacesWhatIsSet) {
  const std::map<std::string, std::string> texts = {
      {"", ""},
      {"plain", "plain"},
      {"${A}", "one"},
      {"<${A}|${A}>", "<one|one>"},
      {"${EMPTY}", ""},
      {"${EMPTY:-two}", "two"},
      {"${NONE:-two}", "two"},
      {"${NONE:-}", ""},
      {"${NONE:-a ${A} b}", "a one b"},
      {"${NONE:-${NONE:-deep}}", "deep"},
      {"${A:?needed}", "one"},
      {"$$", "$"},
      {"$${A}", "${A}"},
      {"$A costs 5$", "$A costs 5$"},
      {"${TRICK}", "${A}"},
  };
  for (const auto& [text, expected] : texts) {
    const Result<std::string> value = SubstituteVariables(text, Lookup);
    ASSERT_TRUE(value.ok()) << text << ": " << value.status().message();
    EXPECT_EQ(*value, expected) << text;
  }
}

TEST(SubstituteVariablesTest, SaysWhatIsWrong) {
  const std::map<std::string, std::string> texts = {
      {"${NONE}", "variable NONE is not set (${NONE:-default} would give it a default)"},
      {"${NONE:?no broker}", "variable NONE: no broker"},
      {"${EMPTY:?no broker}", "variable EMPTY: no broker"},
      {"x${A", "'${A' has no closing brace (write $$ for a dollar sign)"},
      {"${}",
       "expected ${NAME}, ${NAME:-default} or ${NAME:?message}, got '${}' (write $$ for a dollar "
       "sign)"},
      {"${A-b}",
       "expected ${NAME}, ${NAME:-default} or ${NAME:?message}, got '${A-b}' (write $$ for a "
       "dollar sign)"},
  };
  for (const auto& [text, expected] : texts) {
    EXPECT_EQ(SubstituteVariables(text, Lookup).status().message(), expected) << text;
  }
}

TEST(SubstituteVariablesTest, BoundsTheNesting) {
  std::string text = "x";
  for (int i = 0; i < 1000; ++i) text = "${NONE:-" + text + "}";
  EXPECT_FALSE(SubstituteVariables(text, Lookup).ok());
}

}  // namespace
}  // namespace millrace
