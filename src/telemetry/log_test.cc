#include "telemetry/log.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <limits>
#include <sstream>
#include <string>
#include <string_view>
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

// Each line's time stamp, checked for its form, becomes TIME.
std::string WithoutTime(const std::string& text) {
  static constexpr std::string_view kForm = "0000-00-00T00:00:00.000Z";
  std::istringstream lines(text);
  std::string out;
  for (std::string line; std::getline(lines, line);) {
    const std::size_t start = line.find_first_of("0123456789");
    EXPECT_LE(start + kForm.size(), line.size()) << line;
    for (std::size_t i = 0; i < kForm.size(); ++i) {
      const char c = line[start + i];
      EXPECT_EQ(kForm[i], c >= '0' && c <= '9' ? '0' : c) << line;
    }
    out += line.replace(start, kForm.size(), "TIME") + "\n";
  }
  return out;
}

std::string WithoutThread(std::string text) {
  static constexpr std::string_view kKey = "\"thread\":\"";
  const std::size_t start = text.find(kKey);
  if (start == std::string::npos) return text;
  const std::size_t value = start + kKey.size();
  return text.replace(value, text.find('"', value) - value, "T");
}

TEST(LogTest, JsonLinesHoldEveryKindOfField) {
  const std::string text = Written(LogFormat::kJson, LogLevel::kInfo, [] {
    const std::string owned = "owned";
    LogEvent(LogLevel::kWarn, "unit_retried", "The broker was away; trying again.",
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
  EXPECT_EQ(
      WithoutThread(WithoutTime(text)),
      "{\"ts\":\"TIME\",\"level\":\"warn\",\"event\":\"unit_retried\",\"message\":\"The broker "
      "was away; trying again.\",\"thread\":\"T\",\"attempt\":3,"
      "\"bytes\":18446744073709551615,\"least\":-9223372036854775808,\"seconds\":0.25,"
      "\"not_finite\":null,\"fenced\":false,\"literal\":\"text\",\"string\":\"owned\","
      "\"error\":\"no answer\"}\n");
}

TEST(LogTest, JsonTextIsEscaped) {
  const std::string text = Written(LogFormat::kJson, LogLevel::kInfo, [] {
    using std::string_view_literals::operator""sv;
    LogEvent(LogLevel::kInfo, "e", "q\" b\\ n\n r\r t\t",
             {{"raw", "nul\0 esc\x1b del\x7f bad\xff ok\xC3\xA4"sv}});
  });
  EXPECT_NE(text.find(R"("message":"q\" b\\ n\n r\r t\t")"), std::string::npos) << text;
  EXPECT_NE(text.find("\"raw\":\"nul\\u0000 esc\\u001b del\\u007f bad\xEF\xBF\xBD ok\xC3\xA4\""),
            std::string::npos)
      << text;
}

TEST(LogTest, TextLinesStayOnOneLineAndQuoteWhatNeedsIt) {
  const std::string text = Written(LogFormat::kText, LogLevel::kInfo, [] {
    LogEvent(LogLevel::kInfo, "model_loaded", "Serving\nnow.",
             {{"model", "m"}, {"path", "a b"}, {"empty", ""}, {"rows", 64}});
  });
  EXPECT_EQ(WithoutTime(text),
            "TIME INFO  model_loaded | Serving\\nnow. model=m path=\"a b\" empty=\"\" rows=64\n");
}

TEST(LogTest, LevelsBelowTheSettingAreSilent) {
  const std::string text = Written(LogFormat::kText, LogLevel::kWarn, [] {
    LogEvent(LogLevel::kDebug, "d", "d");
    LogEvent(LogLevel::kInfo, "i", "i");
    EXPECT_FALSE(LogEnabled(LogLevel::kInfo));
    EXPECT_TRUE(LogEnabled(LogLevel::kWarn));
    LogEvent(LogLevel::kError, "e", "e");
  });
  EXPECT_EQ(WithoutTime(text), "TIME ERROR e | e\n");
}

TEST(LogTest, LongTextIsCutAndSaysSo) {
  const std::string text = Written(LogFormat::kJson, LogLevel::kInfo, [] {
    LogEvent(LogLevel::kInfo, "e", std::string(kMaxLogTextBytes + 10, 'x'));
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
          LogEvent(LogLevel::kInfo, "e", std::string(100, static_cast<char>('a' + t)));
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
  });
  std::istringstream lines(WithoutTime(text));
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    ASSERT_EQ(line, "TIME INFO  e | " + std::string(100, line.back()));
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
