#include "codec/number_text_internal.h"

#include <gtest/gtest.h>

#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "base/byte_buffer.h"
#include "codec/test_request_internal.h"

namespace millrace {
namespace {

unsigned Seed() {
  const char* given = std::getenv("MILLRACE_TEST_SEED");
  return given != nullptr ? static_cast<unsigned>(std::strtoul(given, nullptr, 10))
                          : std::random_device{}();
}

// A text in a block of its own with exactly the readable padding, so that a sanitizer sees an
// overread; what stands in the padding would go on with the text.
class Padded {
 public:
  explicit Padded(std::string_view text, char padding = '7')
      : bytes_(new char[text.size() + kReadablePadding]), size_(text.size()) {
    std::memcpy(bytes_.get(), text.data(), text.size());
    std::memset(bytes_.get() + text.size(), padding, kReadablePadding);
  }
  const char* begin() const { return bytes_.get(); }
  const char* end() const { return bytes_.get() + size_; }

 private:
  std::unique_ptr<char[]> bytes_;
  std::size_t size_;
};

template <class T>
T Reference(const std::string& text) {
  if constexpr (std::is_same_v<T, float>) {
    return std::strtof(text.c_str(), nullptr);
  } else {
    return std::strtod(text.c_str(), nullptr);
  }
}

template <class T>
void ExpectSameBits(T number, T expected, const std::string& text) {
  ASSERT_EQ(std::memcmp(&number, &expected, sizeof(T)), 0) << text << " became " << number;
}

// All `texts` as an array, with `comma` between them; what was read before it ended.
template <class T>
bool ReadArrayOf(const std::vector<std::string>& texts, std::string_view comma,
                 std::vector<T>* out) {
  std::string text = "[";
  for (const std::string& number : texts) {
    if (text.size() > 1) text += comma;
    text += number;
  }
  const Padded array(text + "]");
  out->assign(texts.size(), 1);
  return ReadPlainArray(array.begin(), array.end(), texts.size(), out->data()) == array.end();
}

// All ways to read a number agree with the C library about it.
template <class T>
void ExpectAsReference(const std::string& text) {
  const T expected = Reference<T>(text);
  T exact = 1;
  ASSERT_EQ(ReadExactNumber(text, &exact), std::isfinite(expected)) << text;
  if (std::isfinite(expected)) ExpectSameBits(exact, expected, text);
  const Padded array("[" + text + "]");
  T plain = 1;
  const char* end = ReadPlainArray(array.begin(), array.end(), 1, &plain);
  ASSERT_EQ(end, std::isfinite(expected) ? array.end() : nullptr) << text;
  if (end != nullptr) ExpectSameBits(plain, expected, text);
  // Numbers are read in pairs when they are short; the last pair is special, and so is a third.
  for (const std::size_t count : {2, 3}) {
    for (const std::string_view comma : {",", ", "}) {
      std::vector<T> numbers;
      ASSERT_EQ(ReadArrayOf({count, text}, comma, &numbers), std::isfinite(expected)) << text;
      if (!std::isfinite(expected)) continue;
      for (const T number : numbers) ExpectSameBits(number, expected, text);
    }
  }
}

using Random = std::mt19937_64;

std::string RandomDigits(Random& random, std::size_t count) {
  std::string digits;
  for (std::size_t i = 0; i < count; ++i) digits += static_cast<char>('0' + random() % 10);
  return digits;
}

// Any legal form, with lengths on both sides of every limit.
std::string RandomDecimal(Random& random) {
  const auto below = [&random](std::size_t n) { return random() % n; };
  std::string text = below(2) == 0 ? "-" : "";
  if (below(2) == 0) {
    text += '0';
  } else {
    text += static_cast<char>('1' + below(9));
    text += RandomDigits(random, below(below(4) == 0 ? 45 : 6));
  }
  if (below(4) != 0) {
    text += '.';
    if (below(4) == 0) text += std::string(below(30), '0');
    text += RandomDigits(random, 1 + below(below(8) == 0 ? 60 : 18));
  }
  if (below(3) == 0) {
    constexpr std::string_view kMarks[] = {"e", "E", "e+", "E-", "e-", "e-0", "e00"};
    text += kMarks[below(std::size(kMarks))];
    text += std::to_string(below(below(8) == 0 ? 100'000 : 60));
  }
  return text;
}

// A positive finite number, the small ones and the subnormal ones often.
template <class T>
T RandomPositive(Random& random) {
  using Bits = number_text::BitsOf<T>;
  constexpr int kFraction = std::numeric_limits<T>::digits - 1;
  constexpr auto kInfinity = std::bit_cast<Bits>(std::numeric_limits<T>::infinity());
  const auto bits = static_cast<Bits>(random());
  switch (random() % 4) {
    case 0:
      return std::bit_cast<T>(static_cast<Bits>(bits % (Bits{2} << kFraction)));
    case 1:
      return std::ldexp(std::bit_cast<T>(static_cast<Bits>((bits >> (8 * sizeof(T) - kFraction)) |
                                                           std::bit_cast<Bits>(T{1}))),
                        static_cast<int>(random() % 40) - 20);
    default:
      return std::bit_cast<T>(static_cast<Bits>(bits % kInfinity));
  }
}

// The middle between a float and the next, to the last digit.
std::string Middle(float number) {
  const double next = std::nextafter(number, std::numeric_limits<float>::infinity());
  const double middle = (double{number} + (std::isinf(next) ? std::ldexp(1.0, 128) : next)) / 2;
  char text[512];
  const bool plain = middle > 1e-9 && middle < 1e15;
  std::snprintf(text, sizeof text, plain ? "%.80f" : "%.160e", middle);
  return text;
}

// `text` with its digits cut off at `keep` of them and the last one changed by `step`.
std::string Nudged(const std::string& text, std::size_t keep, int step) {
  const std::size_t mark = std::min(text.find('e'), text.size());
  std::string digits = text.substr(0, mark);
  while (digits.back() == '0' && digits.find('.') < digits.size() - 2) digits.pop_back();
  if (keep < digits.size() && digits.find('.') + 1 < keep) digits.resize(keep);
  char& last = digits.back();
  if (last >= '0' && last <= '9' && last + step >= '0' && last + step <= '9') {
    last = static_cast<char>(last + step);
  } else if (step > 0) {
    digits += '1';
  }
  return digits + text.substr(mark);
}

TEST(NumberTextTest, ReadsAnyDecimalAsTheCLibraryDoes) {
  const unsigned seed = Seed();
  SCOPED_TRACE("MILLRACE_TEST_SEED=" + std::to_string(seed));
  std::printf("MILLRACE_TEST_SEED=%u\n", seed);
  Random random(seed);
  for (int round = 0; round < 200'000 && !testing::Test::HasFatalFailure(); ++round) {
    const std::string text = RandomDecimal(random);
    ExpectAsReference<float>(text);
    ExpectAsReference<double>(text);
  }
}

TEST(NumberTextTest, RoundsToFloatOnceAtAndAroundTheMiddleOfTwo) {
  const unsigned seed = Seed();
  SCOPED_TRACE("MILLRACE_TEST_SEED=" + std::to_string(seed));
  std::printf("MILLRACE_TEST_SEED=%u\n", seed);
  Random random(seed);
  for (int round = 0; round < 40'000 && !testing::Test::HasFatalFailure(); ++round) {
    const std::string middle = Middle(RandomPositive<float>(random));
    ExpectAsReference<float>(middle);
    for (const int step : {-1, 0, 1}) {
      ExpectAsReference<float>(Nudged(middle, 1000, step));
      ExpectAsReference<float>(Nudged(middle, 10 + random() % 14, step));
    }
  }
}

TEST(NumberTextTest, ReadsBackWhatPrintersWrite) {
  const unsigned seed = Seed();
  SCOPED_TRACE("MILLRACE_TEST_SEED=" + std::to_string(seed));
  std::printf("MILLRACE_TEST_SEED=%u\n", seed);
  Random random(seed);
  char text[64];
  for (int round = 0; round < 80'000 && !testing::Test::HasFatalFailure(); ++round) {
    const float single = RandomPositive<float>(random);
    const double wide = RandomPositive<double>(random);
    ExpectAsReference<float>({text, std::to_chars(text, text + sizeof text, single).ptr});
    ExpectAsReference<float>({text, std::to_chars(text, text + sizeof text, double{single}).ptr});
    ExpectAsReference<double>({text, std::to_chars(text, text + sizeof text, wide).ptr});
    std::snprintf(text, sizeof text, "%.8f", static_cast<double>(random()) / 1e19);
    ExpectAsReference<float>(text);
    std::snprintf(text, sizeof text, "%.7e", double{single});
    ExpectAsReference<float>(text);
  }
}

TEST(NumberTextTest, ReadsTheEndsOfTheRange) {
  for (const std::string text : {"0",
                                 "-0",
                                 "0.0",
                                 "-0.0e-5",
                                 "0e99999",
                                 "-0e-99999",
                                 "0.00000000000000000000000000000000",
                                 "3.4028234663852886e38",
                                 "3.4028235e38",
                                 "3.4028235677973366e38",
                                 "3.4028235677973367e38",
                                 "340282346638528859811704183484516925440",
                                 "340282356779733661637539395458142568447",
                                 "340282356779733661637539395458142568448",
                                 "3.5e38",
                                 "1e39",
                                 "1e400",
                                 "-1e400",
                                 "1.1754943508222875e-38",
                                 "1.1754942e-38",
                                 "1.4e-45",
                                 "1e-45",
                                 "7.1e-46",
                                 "7e-46",
                                 "7.006492321624085e-46",
                                 "7.0064923216240854e-46",
                                 "7.006492321624086e-46",
                                 "1e-60",
                                 "-1e-400",
                                 "1e-99999999999999999999",
                                 "1e99999999999999999999",
                                 "16777217",
                                 "16777219",
                                 "9007199254740993",
                                 "18446744073709551615",
                                 "18446744073709551616",
                                 "0.50000002980232238769531250",
                                 "1.00000017881393432617187499",
                                 "1.00000017881393432617187500",
                                 "1.00000017881393432617187501",
                                 "5e-324",
                                 "2e-324",
                                 "1.7976931348623157e308",
                                 "1.7976931348623159e308",
                                 "100000000000000000000000000e-26"}) {
    ExpectAsReference<float>(text);
    ExpectAsReference<double>(text);
  }
}

TEST(NumberTextTest, ReadsNothingThatIsNoJsonNumber) {
  for (const std::string text : {"01",
                                 "-01",
                                 "00",
                                 "00.5",
                                 "1.",
                                 "-1.",
                                 ".5",
                                 "-.5",
                                 "+1",
                                 "1e",
                                 "1e+",
                                 "1E-",
                                 "1.e1",
                                 "-",
                                 "--1",
                                 "NaN",
                                 "nan",
                                 "Infinity",
                                 "-Infinity",
                                 "inf",
                                 "0x1",
                                 "0x1p3",
                                 "1.5.2",
                                 "1e5e5",
                                 "1e5.5",
                                 "1 2",
                                 "1,",
                                 "1f",
                                 "1_000",
                                 "1'000",
                                 "\xC2\xB2",
                                 "true",
                                 "null",
                                 "\"1\"",
                                 "",
                                 "00000000000000000000000000000000000001",
                                 "1.00000000000000000000000000000000000000x"}) {
    double exact = 0;
    EXPECT_FALSE(ReadExactNumber(text, &exact)) << text;
    const Padded array("[" + text + "]");
    float plain = 0;
    std::int32_t integer = 0;
    EXPECT_EQ(ReadPlainArray(array.begin(), array.end(), 1, &plain), nullptr) << text;
    EXPECT_EQ(ReadPlainArray(array.begin(), array.end(), 1, &integer), nullptr) << text;
    const auto failure = TestRequest(R"({"request_id":"r","tenant_id":"t","input":[)" + text + "]}")
                             .Decode(MakeLayout(ElementType::kFloat32, {1}));
    EXPECT_TRUE(failure) << text;
  }
}

TEST(NumberTextTest, ReadsNumbersOfAllKindsInOneArray) {
  const unsigned seed = Seed();
  SCOPED_TRACE("MILLRACE_TEST_SEED=" + std::to_string(seed));
  std::printf("MILLRACE_TEST_SEED=%u\n", seed);
  Random random(seed);
  constexpr std::string_view kCommas[] = {",", ", ", " ,", ",  ", ",\n"};
  for (int round = 0; round < 20'000; ++round) {
    // Mostly short ones in most arrays, and others among them.
    const std::size_t rare = 1 + random() % 20;
    std::vector<std::string> texts(random() % 40 + 1);
    for (std::string& text : texts) {
      if (random() % rare == 0) {
        do text = RandomDecimal(random);
        while (!std::isfinite(Reference<float>(text)));
      } else {
        text = random() % 2 == 0 ? "-" : "";
        text += RandomDigits(random, 1) + '.' + RandomDigits(random, 1 + random() % 13);
      }
    }
    const std::string_view comma = kCommas[random() % std::size(kCommas)];
    std::vector<float> singles;
    std::vector<double> doubles;
    ASSERT_TRUE(ReadArrayOf(texts, comma, &singles)) << testing::PrintToString(texts) << comma;
    ASSERT_TRUE(ReadArrayOf(texts, comma, &doubles));
    for (std::size_t i = 0; i < texts.size(); ++i) {
      ExpectSameBits(singles[i], Reference<float>(texts[i]), texts[i]);
      ExpectSameBits(doubles[i], Reference<double>(texts[i]), texts[i]);
    }
  }
}

// One character of an array that is changed, and an array that has not the length that is due.
TEST(NumberTextTest, ReadsOnlyWhatTheSlowWayReads) {
  const unsigned seed = Seed();
  SCOPED_TRACE("MILLRACE_TEST_SEED=" + std::to_string(seed));
  std::printf("MILLRACE_TEST_SEED=%u\n", seed);
  Random random(seed);
  constexpr std::string_view kOthers = "0123456789.,-+eE ]}[\"x/:\t\0\x80\xB0\xFF";
  for (int round = 0; round < 200'000; ++round) {
    const std::size_t count = 1 + random() % 5;
    std::string text = "[";
    for (std::size_t i = 0; i < count; ++i) {
      if (i > 0) text += random() % 4 == 0 ? ", " : ",";
      text += (random() % 3 == 0 ? "-" : "") + RandomDigits(random, 1) + '.' +
              RandomDigits(random, 1 + random() % 12);
    }
    text += ']';
    if (random() % 8 != 0) text[random() % text.size()] = kOthers[random() % kOthers.size()];
    if (text[0] != '[') continue;
    const std::size_t wanted = random() % 8 == 0 ? 1 + random() % 5 : count;
    // The slow way: one number after the other, each in an array of its own.
    std::vector<float> expected;
    const std::size_t close = text.find(']');
    bool legal = close != std::string::npos;
    for (std::size_t at = 1; legal && at <= close;) {
      const std::size_t stop = std::min(text.find(',', at), close);
      const Padded one("[" + text.substr(at, stop - at) + "]");
      expected.push_back(0);
      legal = ReadPlainArray(one.begin(), one.end(), 1, &expected.back()) != nullptr;
      at = stop + 1;
    }
    const Padded array(text);
    std::vector<float> numbers(wanted, 7);
    const char* const end = ReadPlainArray(array.begin(), array.end(), wanted, numbers.data());
    const bool fits = legal && expected.size() == wanted;
    ASSERT_EQ(end, fits ? array.begin() + close + 1 : nullptr) << text;
    if (!fits) continue;
    for (std::size_t i = 0; i < wanted; ++i) ExpectSameBits(numbers[i], expected[i], text);
  }
}

TEST(NumberTextTest, NeverUsesWhatStandsBehindTheEnd) {
  for (const std::string whole :
       {"[0.12345678]", "[ 1 ]", "[-12.5e-3]", "[1,2]", "[123456789012]", "[0.5,-0.25]",
        "[0.5, 0.1234567]", "[0.5,1.5,2.5]", "[0.123456789012345678901234567890]"}) {
    for (const char padding : {'7', '0', ']', ' ', '.', ','}) {
      for (std::size_t size = 1; size < whole.size(); ++size) {
        const Padded cut(whole.substr(0, size), padding);
        float numbers[3];
        std::int64_t integers[2];
        EXPECT_EQ(ReadPlainArray(cut.begin(), cut.end(), 1, numbers), nullptr) << size << whole;
        EXPECT_EQ(ReadPlainArray(cut.begin(), cut.end(), 2, numbers), nullptr) << size << whole;
        EXPECT_EQ(ReadPlainArray(cut.begin(), cut.end(), 3, numbers), nullptr) << size << whole;
        EXPECT_EQ(ReadPlainArray(cut.begin(), cut.end(), 1, integers), nullptr) << size << whole;
      }
    }
  }
}

TEST(NumberTextTest, ReadsIntegersThatFit) {
  const auto read = [](const std::string& text, auto zero) -> std::optional<decltype(zero)> {
    const Padded array("[" + text + "]");
    if (ReadPlainArray(array.begin(), array.end(), 1, &zero) == nullptr) return std::nullopt;
    return zero;
  };
  EXPECT_EQ(read("-127", std::int8_t{}), -127);
  EXPECT_EQ(read("127", std::int8_t{}), 127);
  EXPECT_EQ(read("128", std::int8_t{}), std::nullopt);
  EXPECT_EQ(read("255", std::uint8_t{}), 255);
  EXPECT_EQ(read("-1", std::uint8_t{}), std::nullopt);
  EXPECT_EQ(read("9223372036854775807", std::int64_t{}), std::numeric_limits<std::int64_t>::max());
  EXPECT_EQ(read("9223372036854775808", std::int64_t{}), std::nullopt);
  EXPECT_EQ(read("-9223372036854775807", std::int64_t{}),
            -std::numeric_limits<std::int64_t>::max());
  EXPECT_EQ(read("9999999999999999999", std::uint64_t{}), 9999999999999999999U);
  EXPECT_EQ(read("007", std::int32_t{}), std::nullopt);
  EXPECT_EQ(read("7.0", std::int32_t{}), std::nullopt);
}

TEST(NumberTextTest, FindsDigitsTheSameWithAndWithoutVectors) {
  Random random(1);
  for (int round = 0; round < 10'000; ++round) {
    char text[16];
    for (char& c : text) {
      c = static_cast<char>(random() % 3 == 0 ? random() : '0' + random() % 10);
    }
    ASSERT_EQ(number_text::NonDigits(text), number_text::NonDigitsPortable(text));
  }
}

TEST(NumberTextTest, ReadsDigitsTheSameWithAndWithoutVectors) {
  Random random(1);
  for (int round = 0; round < 10'000; ++round) {
    const std::size_t count = 9 + random() % 11;
    const Padded text(RandomDigits(random, count));
    ASSERT_EQ(number_text::ReadManyDigits(text.begin(), count),
              number_text::ReadManyDigitsPortable(text.begin(), count));
    ASSERT_EQ(number_text::ReadManyDigits(text.begin(), count),
              std::stoull(std::string(text.begin(), text.end())));
  }
}

}  // namespace
}  // namespace millrace
