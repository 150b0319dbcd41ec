#include "telemetry/log.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <limits>
#include <regex>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace millrace {
namespace {

using std::chrono_literals::operator""s;

std::string Written(LogFormat format, LogLevel level, const std::function<void()>& body) {
  TelemetryOptions options;
  options.log_format = format;
  options.log_level = level;
  InitLogging(options);
  testing::internal::CaptureStderr();
  body();
  std::string text = testing::internal::GetCapturedStderr();
  InitLogging(TelemetryOptions());
  return text;
}

std::string WithoutTime(const std::string& text) {
  static const std::regex time(R"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z)");
  return std::regex_replace(text, time, "TIME");
}

std::string WithoutThread(const std::string& text) {
  static const std::regex thread(R"re("thread":"[^"]*")re");
  return std::regex_replace(text, thread, "\"thread\":\"T\"");
}

TEST(LogTest, JsonLinesHoldEveryKindOfField) {
  const std::string text = Written(LogFormat::kJson, LogLevel::kInfo, [] {
    const std::string owned = "owned";
    Log(LogLevel::kWarn, "unit_retried", "The broker was away; trying again.",
        {{"attempt", 3},
         {"bytes", std::numeric_limits<std::uint64_t>::max()},
         {"least", std::numeric_limits<std::int64_t>::min()},
         {"seconds", 0.25},
         {"not_finite", std::numeric_limits<double>::infinity()},
         {"fenced", false},
         {"literal", "text"},
         {"string", owned},
         {"error", Status(StatusCode::kUnavailable, "no answer")}});
  });
  EXPECT_EQ(WithoutThread(WithoutTime(text)),
            "{\"ts\":\"TIME\",\"level\":\"warn\",\"event\":\"unit_retried\",\"message\":\"The broker "
            "was away; trying again.\",\"thread\":\"T\",\"attempt\":3,"
            "\"bytes\":18446744073709551615,\"least\":-9223372036854775808,\"seconds\":0.25,"
            "\"not_finite\":null,\"fenced\":false,\"literal\":\"text\",\"string\":\"owned\","
            "\"error\":\"no answer\"}\n");
}

TEST(LogTest, JsonTextIsEscaped) {
  const std::string text = Written(LogFormat::kJson, LogLevel::kInfo, [] {
    using std::string_view_literals::operator""sv;
    Log(LogLevel::kInfo, "e", "q\" b\\ n\n r\r t\t",
        {{"raw", "nul\0 esc\x1b del\x7f bad\xff ok\xC3\xA4"sv}});
  });
  EXPECT_NE(text.find(R"("message":"q\" b\\ n\n r\r t\t")"), std::string::npos) << text;
  EXPECT_NE(text.find("\"raw\":\"nul\\u0000 esc\\u001b del\\u007f bad\xEF\xBF\xBD ok\xC3\xA4\""),
            std::string::npos)
      << text;
}

TEST(LogTest, TextLinesStayOnOneLineAndQuoteWhatNeedsIt) {
  const std::string text = Written(LogFormat::kText, LogLevel::kInfo, [] {
    Log(LogLevel::kInfo, "model_loaded", "Serving\nnow.",
        {{"model", "m"}, {"path", "a b"}, {"empty", ""}, {"rows", 64}});
  });
  EXPECT_EQ(WithoutTime(text),
            "TIME INFO  model_loaded | Serving\\nnow. model=m path=\"a b\" empty=\"\" rows=64\n");
}

TEST(LogTest, LevelsBelowTheSettingAreSilent) {
  const std::string text = Written(LogFormat::kText, LogLevel::kWarn, [] {
    Log(LogLevel::kDebug, "d", "d");
    Log(LogLevel::kInfo, "i", "i");
    EXPECT_FALSE(LogEnabled(LogLevel::kInfo));
    EXPECT_TRUE(LogEnabled(LogLevel::kWarn));
    Log(LogLevel::kError, "e", "e");
  });
  EXPECT_EQ(WithoutTime(text), "TIME ERROR e | e\n");
}

TEST(LogTest, LongTextIsCutAndSaysSo) {
  const std::string text = Written(LogFormat::kJson, LogLevel::kInfo, [] {
    Log(LogLevel::kInfo, "e", std::string(kMaxLogTextBytes + 10, 'x'));
  });
  EXPECT_NE(text.find("xxx... (10 bytes cut)\""), std::string::npos);
  EXPECT_LT(text.size(), kMaxLogTextBytes + 200);
}

TEST(LogTest, LinesOfManyThreadsDoNotMix) {
  const std::string text = Written(LogFormat::kText, LogLevel::kInfo, [] {
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([t] {
        for (int i = 0; i < 200; ++i) {
          Log(LogLevel::kInfo, "e", std::string(100, static_cast<char>('a' + t)));
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
  });
  static const std::regex whole(R"(TIME INFO  e \| (a{100}|b{100}|c{100}|d{100}))");
  std::istringstream lines(WithoutTime(text));
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    ASSERT_TRUE(std::regex_match(line, whole)) << line;
  }
  EXPECT_EQ(count, 800);
}

TEST(LogTest, RepeatedLinesPassOncePerIntervalAndCountTheRest) {
  ManualClock clock;
  LogLimiter limiter(10s, clock);
  const std::string text = Written(LogFormat::kText, LogLevel::kInfo, [&] {
    for (int i = 0; i < 25; ++i) {
      LogEvery(limiter, LogLevel::kWarn, "away", "away", {{"i", i}});
      LogEvery(limiter, LogLevel::kDebug, "silent", "silent");
      clock.Advance(1s);
    }
  });
  EXPECT_EQ(WithoutTime(text),
            "TIME WARN  away | away i=0\n"
            "TIME WARN  away | away i=10 suppressed=9\n"
            "TIME WARN  away | away i=20 suppressed=9\n");
}

}  // namespace
}  // namespace millrace
