#include <gtest/gtest.h>

#include <ctime>
#include <random>

#include "codec/outcome_encoder.h"

namespace millrace {
namespace {

std::string Format(WallMillis time) {
  std::string text(kRfc3339MillisBytes, '\0');
  FormatRfc3339Millis(time, text.data());
  return text;
}

TEST(Rfc3339Test, FormatsKnownTimes) {
  EXPECT_EQ(Format(0), "1970-01-01T00:00:00.000Z");
  EXPECT_EQ(Format(-1), "1969-12-31T23:59:59.999Z");
  EXPECT_EQ(Format(1'795'245'327'123), "2026-11-21T07:15:27.123Z");
  EXPECT_EQ(Format(951'782'400'000), "2000-02-29T00:00:00.000Z");
  EXPECT_EQ(Format(std::numeric_limits<WallMillis>::max()), "9999-12-31T23:59:59.999Z");
  EXPECT_EQ(Format(std::numeric_limits<WallMillis>::min()), "0000-01-01T00:00:00.000Z");
}

TEST(Rfc3339Test, AgreesWithTheSystemAndReadsBack) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  std::uniform_int_distribution<WallMillis> times(-62'167'219'200'000, 253'402'300'799'999);
  for (int i = 0; i < 20'000; ++i) {
    const WallMillis time = times(random);
    const WallMillis millis = ((time % 1000) + 1000) % 1000;
    const std::time_t seconds = (time - millis) / 1000;
    std::tm parts{};
    ASSERT_NE(gmtime_r(&seconds, &parts), nullptr);
    char expected[64];
    std::snprintf(expected, sizeof expected, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ",
                  parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday, parts.tm_hour,
                  parts.tm_min, parts.tm_sec, static_cast<int>(millis));
    ASSERT_EQ(Format(time), expected);
    ASSERT_EQ(ParseRfc3339(expected), time);
  }
}

// With one decimal more a time is read character by character.
TEST(Rfc3339Test, JudgesTimesInMillisecondsAsAllOthers) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  std::uniform_int_distribution<WallMillis> times(-62'167'219'200'000, 253'402'300'799'999);
  constexpr std::string_view kOthers = "0123456789TtZz:.-+ /;,\x80\xB0";
  int legal = 0;
  for (int i = 0; i < 200'000; ++i) {
    std::string text = Format(times(random));
    for (std::uint64_t n = random() % 3; n > 0; --n) {
      text[random() % (text.size() - 1)] = kOthers[random() % kOthers.size()];
    }
    std::string longer = text;
    longer.insert(longer.size() - 1, "0");
    const auto time = ParseRfc3339(text);
    ASSERT_EQ(time, ParseRfc3339(longer)) << text;
    if (time) ++legal;
  }
  EXPECT_GT(legal, 60'000);
}

TEST(Rfc3339Test, ParsesEveryForm) {
  constexpr WallMillis kTime = 1'795'245'327'000;
  for (const auto& [text, time] : std::vector<std::pair<std::string_view, WallMillis>>{
           {"2026-11-21T07:15:27Z", kTime},
           {"2026-11-21t07:15:27z", kTime},
           {"2026-11-21 07:15:27Z", kTime},
           {"2026-11-21T07:15:27.5Z", kTime + 500},
           {"2026-11-21T07:15:27.123456789Z", kTime + 123},
           {"2026-11-21T08:15:27+01:00", kTime},
           {"2026-11-21T01:45:27-05:30", kTime},
           {"2026-11-21T07:15:27-00:00", kTime},
           {"1990-12-31T23:59:60Z", 662'688'000'000},
           {"1990-12-31T23:59:60.999Z", 662'688'000'999},
       }) {
    EXPECT_EQ(ParseRfc3339(text), time) << text;
  }
}

TEST(Rfc3339Test, RefusesWhatIsNoTime) {
  for (const std::string_view text :
       {"",
        "2026",
        "2026-11-21",
        "2026-11-21T07:15:27",
        "2026-11-21T07:15Z",
        "2026-13-21T07:15:27Z",
        "2026-02-29T07:15:27Z",
        "2026-00-10T07:15:27Z",
        "2026-11-00T07:15:27Z",
        "2026-11-21T24:15:27Z",
        "2026-11-21T07:60:27Z",
        "2026-11-21T07:15:61Z",
        "2026-11-21T07:15:27.Z",
        "2026-11-21T24:15:27.000Z",
        "2026-11-21T07:60:27.000Z",
        "2026-11-21T07:15:61.000Z",
        "2026-02-29T07:15:27.000Z",
        "2026-00-10T07:15:27.000Z",
        "2026-11-21T07:15:27,5Z",
        "2026-11-21T07:15:27+0100",
        "2026-11-21T07:15:27+24:00",
        "2026-11-21T07:15:27+01:60",
        "2026-11-21T07:15:27ZZ",
        " 2026-11-21T07:15:27Z",
        "26-11-21T07:15:27Z",
        "2026-11-21T-7:15:27Z",
        "2026-1-21T07:15:27Z",
        "2026-11-21T07:15:27.5",
        "+026-11-21T07:15:27Z",
        "2026-11-21T07:15:27.000000000000000000000000000000000000000000000000000000Z"}) {
    EXPECT_EQ(ParseRfc3339(text), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace millrace
