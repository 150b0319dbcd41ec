#include "base/settings.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>

namespace millrace {
namespace {

enum class Fruit : std::uint8_t { kApple, kPear };

struct Options {
  std::int64_t rows = 64;
  double factor = 2.0;
  bool adaptive = true;
  std::string name = "x";
  Millis wait{50};
  std::int64_t bytes = 64 << 20;
  Fruit fruit = Fruit::kPear;
};

class SettingSetTest : public ::testing::Test {
 protected:
  SettingSetTest() {
    set_.Integer("rows", &options_.rows, 1, 4096, "Rows.");
    set_.Number("factor", &options_.factor, 1.0, 10.0, "Factor.");
    set_.Bool("adaptive", &options_.adaptive, "Adaptive.");
    set_.String("name", &options_.name, "Name.", {.secret = true});
    set_.Duration("wait", &options_.wait, Millis(0), Millis(60'000), "Wait.");
    set_.Bytes("bytes", &options_.bytes, 1 << 10, std::int64_t{1} << 30, "Bytes.");
    set_.Enum("fruit", &options_.fruit, {"apple", "pear"}, "Fruit.");
  }

  const Setting& At(const std::string& path) const {
    for (const Setting& setting : set_.settings()) {
      if (setting.path == path) return setting;
    }
    ADD_FAILURE() << "no setting " << path;
    return set_.settings().front();
  }
  std::string Error(const std::string& path, const std::string& text) const {
    return std::string(At(path).set(text).message());
  }

  Options options_;
  SettingSet set_;
};

TEST_F(SettingSetTest, ParsesEachTypeIntoItsField) {
  EXPECT_TRUE(At("rows").set("4096").ok());
  EXPECT_TRUE(At("factor").set("1.5").ok());
  EXPECT_TRUE(At("adaptive").set("off").ok());
  EXPECT_TRUE(At("name").set(" kept as it is ").ok());
  EXPECT_TRUE(At("wait").set("1.5s").ok());
  EXPECT_TRUE(At("bytes").set("8KiB").ok());
  EXPECT_TRUE(At("fruit").set("apple").ok());
  EXPECT_EQ(options_.rows, 4096);
  EXPECT_EQ(options_.factor, 1.5);
  EXPECT_FALSE(options_.adaptive);
  EXPECT_EQ(options_.name, " kept as it is ");
  EXPECT_EQ(options_.wait, Millis(1500));
  EXPECT_EQ(options_.bytes, 8192);
  EXPECT_EQ(options_.fruit, Fruit::kApple);
}

TEST_F(SettingSetTest, ErrorSaysWhatWasExpected) {
  EXPECT_EQ(Error("rows", "0"), "must be between 1 and 4096, got '0'");
  EXPECT_EQ(Error("rows", "4097"), "must be between 1 and 4096, got '4097'");
  EXPECT_EQ(Error("rows", "12x"), "expected a whole number, got '12x'");
  EXPECT_EQ(Error("rows", "1e3"), "expected a whole number, got '1e3'");
  EXPECT_EQ(Error("rows", "99999999999999999999"),
            "expected a whole number, got '99999999999999999999'");
  EXPECT_EQ(Error("factor", "nan"), "expected a number, got 'nan'");
  EXPECT_EQ(Error("factor", "0.5"), "must be between 1 and 10, got '0.5'");
  EXPECT_EQ(Error("adaptive", "maybe"), "expected true or false, got 'maybe'");
  EXPECT_EQ(Error("wait", "abc"), "expected a duration such as 50ms, 5s or 2m, got 'abc'");
  EXPECT_EQ(Error("wait", "2m"), "must be between 0s and 1m, got '2m'");
  EXPECT_EQ(Error("bytes", "12 apples"),
            "expected a size such as 64MiB, 8KiB, 16MB or 1000000, got '12 apples'");
  EXPECT_EQ(Error("fruit", "plum"), "expected one of apple, pear, got 'plum'");
}

TEST_F(SettingSetTest, LeavesTheFieldAloneWhenTheTextIsWrong) {
  EXPECT_FALSE(At("rows").set("5000").ok());
  EXPECT_FALSE(At("wait").set("5 years").ok());
  EXPECT_FALSE(At("fruit").set("Pear").ok());
  EXPECT_EQ(options_.rows, 64);
  EXPECT_EQ(options_.wait, Millis(50));
  EXPECT_EQ(options_.fruit, Fruit::kPear);
}

TEST_F(SettingSetTest, DefaultIsTheFieldsValueAsAUserWouldWriteIt) {
  EXPECT_EQ(At("rows").default_text, "64");
  EXPECT_EQ(At("factor").default_text, "2");
  EXPECT_EQ(At("adaptive").default_text, "true");
  EXPECT_EQ(At("wait").default_text, "50ms");
  EXPECT_EQ(At("bytes").default_text, "64MiB");
  EXPECT_EQ(At("fruit").default_text, "pear");
  EXPECT_EQ(At("wait").bounds_text, "0s..1m");
  EXPECT_EQ(At("bytes").bounds_text, "1KiB..1GiB");
  EXPECT_TRUE(At("name").secret);
  EXPECT_FALSE(At("rows").secret);
}

TEST_F(SettingSetTest, WhatIsPrintedReadsBackToTheSameValue) {
  options_.factor = 1.1;
  options_.wait = Millis(1501);
  options_.bytes = 1'000'003;
  for (const Setting& setting : set_.settings()) {
    const std::string text = setting.get();
    EXPECT_TRUE(setting.set(text).ok()) << setting.path << " = " << text;
    EXPECT_EQ(setting.get(), text) << setting.path;
  }
  EXPECT_EQ(options_.factor, 1.1);
  EXPECT_EQ(options_.wait, Millis(1501));
  EXPECT_EQ(options_.bytes, 1'000'003);
}

struct Entry {
  std::int64_t weight = 1;
};
void DescribeEntry(SettingSet& set, Entry& entry) {
  set.Integer("weight", &entry.weight, 1, 100, "Weight.");
}

TEST(SettingSetMapTest, MakesAnEntryWhenItIsBound) {
  std::map<std::string, Entry> entries;
  SettingSet set;
  set.Map("tenants", &entries, DescribeEntry);
  ASSERT_EQ(set.maps().size(), 1U);
  EXPECT_TRUE(entries.empty());
  ASSERT_EQ(set.maps()[0].entry_settings.size(), 1U);
  EXPECT_EQ(set.maps()[0].entry_settings[0].default_text, "1");
  SettingSet bound;
  set.maps()[0].bind("acme", bound);
  ASSERT_EQ(bound.settings().size(), 1U);
  EXPECT_TRUE(bound.settings()[0].set("7").ok());
  EXPECT_EQ(entries.at("acme").weight, 7);
}

TEST_F(SettingSetTest, AnOptionalNumberMayBeLeftOpen) {
  std::optional<double> number;
  SettingSet set;
  set.OptionalNumber("threshold", &number, -1, 1, "Doc.");
  const Setting& setting = set.settings()[0];
  EXPECT_EQ(setting.default_text, "");
  EXPECT_EQ(setting.bounds_text, "-1..1");
  ASSERT_TRUE(setting.set(" 0.3 ").ok());
  EXPECT_EQ(number, 0.3);
  EXPECT_EQ(setting.get(), "0.3");
  EXPECT_FALSE(setting.set("1.5").ok());
  EXPECT_FALSE(setting.set("nan").ok());
  EXPECT_FALSE(setting.set("much").ok());
  EXPECT_EQ(number, 0.3);
  ASSERT_TRUE(setting.set("").ok());
  EXPECT_FALSE(number.has_value());
}

TEST_F(SettingSetTest, AnotherModuleMayCheckASetting) {
  std::string text;
  SettingSet set;
  set.String("name", &text, "Doc.");
  set.AlsoCheck("name", [](std::string_view value) {
    return value == "no" ? Status(StatusCode::kConfiguration, "not this") : Status();
  });
  EXPECT_TRUE(set.settings()[0].set("yes").ok());
  EXPECT_EQ(set.settings()[0].set("no").message(), "not this");
  EXPECT_EQ(text, "yes");
}

TEST(MappingTextTest, QuotesNamesThatAreNoWords) {
  EXPECT_EQ(MappingText({}), "");
  EXPECT_EQ(MappingText({{"is_fraud", "p[1] >= 0.5"}, {"a \"b\\", "x"}}),
            "is_fraud = p[1] >= 0.5, \"a \\\"b\\\\\" = x");
}

TEST(ParseDurationTest, ReadsEveryUnit) {
  const std::map<std::string, std::int64_t> texts = {
      {"50ms", 50},      {"5s", 5'000},       {"1.5s", 1'500}, {"2m", 120'000},
      {"1h", 3'600'000}, {"7d", 604'800'000}, {"250", 250},    {" 3 S ", 3'000},
      {"0", 0},          {"-1", -1},          {"0.25s", 250},
  };
  for (const auto& [text, millis] : texts) {
    const Result<Millis> value = ParseDuration(text);
    ASSERT_TRUE(value.ok()) << text;
    EXPECT_EQ(value->count(), millis) << text;
  }
}

TEST(ParseDurationTest, RefusesWhatIsNoWholeMillisecond) {
  for (const char* text :
       {"", "ms", "1.5", "0.5ms", "5 years", "1e300d", "nan s", "5s5s", "--5s"}) {
    EXPECT_FALSE(ParseDuration(text).ok()) << text;
  }
}

TEST(FormatDurationTest, UsesTheLargestUnitThatFits) {
  EXPECT_EQ(FormatDuration(Millis(0)), "0s");
  EXPECT_EQ(FormatDuration(Millis(999)), "999ms");
  EXPECT_EQ(FormatDuration(Millis(90'000)), "90s");
  EXPECT_EQ(FormatDuration(Millis(7'200'000)), "2h");
  EXPECT_EQ(FormatDuration(Millis(86'400'000)), "1d");
  EXPECT_EQ(FormatDuration(Millis(-1)), "-1ms");
}

TEST(ParseBytesTest, TellsPowersOfTwoFromPowersOfTen) {
  EXPECT_EQ(*ParseBytes("64MiB"), 67'108'864);
  EXPECT_EQ(*ParseBytes("8KiB"), 8'192);
  EXPECT_EQ(*ParseBytes("16MB"), 16'000'000);
  EXPECT_EQ(*ParseBytes("1.5 GiB"), 1'610'612'736);
  EXPECT_EQ(*ParseBytes("1000000"), 1'000'000);
  EXPECT_FALSE(ParseBytes("64M").ok());
  EXPECT_FALSE(ParseBytes("0.3B").ok());
  EXPECT_FALSE(ParseBytes("99999999TiB").ok());
}

TEST(FormatBytesTest, KeepsTheExactNumber) {
  EXPECT_EQ(FormatBytes(0), "0");
  EXPECT_EQ(FormatBytes(1536), "1536");
  EXPECT_EQ(FormatBytes(16 << 10), "16KiB");
  EXPECT_EQ(FormatBytes(16'000'000), "16MB");
  EXPECT_EQ(FormatBytes(std::int64_t{3} << 30), "3GiB");
}

}  // namespace
}  // namespace millrace
