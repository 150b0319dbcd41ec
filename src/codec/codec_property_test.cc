// Properties of decoder and encoder together, over random numbers and damaged requests.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <random>

#include "codec/outcome_encoder.h"
#include "codec/test_request_internal.h"

namespace millrace {
namespace {

constexpr std::string_view kRequest =
    R"({"request_id":"r-\u0031","tenant_id":"acme","model_id":"m","model_version":"1",)"
    R"("inputs":{"x":[[1.5,-2e-3],[0,17]]},"metadata":{"k":"v\n"},)"
    R"("enqueued_at":"2026-11-21T07:15:27.123Z","timeout_ms":5000,"priority":3,)"
    R"("more":[{"a":null,"b":[true,false]},"\ud83d\ude00",-0.5e+7]})";

const RowLayout kLayout = MakeLayout(ElementType::kFloat32, {2, 2});

unsigned Seed() {
  const char* given = std::getenv("MILLRACE_TEST_SEED");
  return given != nullptr ? static_cast<unsigned>(std::strtoul(given, nullptr, 10))
                          : std::random_device{}();
}

// The text between "output":[ and ].
std::string_view OutputText(std::string_view value) {
  constexpr std::string_view kStart = R"("output":[)";
  const std::size_t begin = value.find(kStart) + kStart.size();
  return value.substr(begin, value.find(']', begin) - begin);
}

template <class T, class Bits>
void NumbersSurviveEncodeAndDecode(ElementType type) {
  const unsigned seed = Seed();
  SCOPED_TRACE("MILLRACE_TEST_SEED=" + std::to_string(seed));
  std::mt19937_64 random(seed);
  constexpr std::size_t kRow = 64;
  const RowLayout layout = MakeLayout(type, {kRow});
  const ModelRef model{"m", "1", ""};
  const TensorSpec spec{"y", type, {kDynamicDim, kRow}};
  TestRequest source("{}");
  RequestDecoder decoder(CodecLimits{});
  ResultEncoder encoder(CodecLimits{});
  for (int round = 0; round < 300; ++round) {
    std::vector<T> numbers(kRow);
    for (T& number : numbers) {
      do {
        const auto bits = static_cast<Bits>(random());
        std::memcpy(&number, &bits, sizeof number);
      } while (!std::isfinite(number));
    }
    const OutputView view{&spec, numbers.data(), kRow, {kRow}};
    encoder.BeginBatch(model, {&view, 1}, 1, 0);
    InferenceRequest request;
    request.request_id = "r";
    request.tenant_id = "t";
    OutputChunk chunk;
    OutputRecord out;
    ASSERT_FALSE(encoder.EncodeRow(request, {"q", 0, &source.record()}, 0, Micros(1), chunk, &out));
    TestRequest again(R"({"request_id":"r","tenant_id":"t","input":[)" +
                      std::string(OutputText(out.Value())) + "]}");
    const auto failure = again.Decode(decoder, layout);
    ASSERT_FALSE(failure) << failure->detail;
    const std::vector<T> back = again.Row<T>(kRow);
    for (std::size_t i = 0; i < kRow; ++i) {
      ASSERT_EQ(std::memcmp(&back[i], &numbers[i], sizeof(T)), 0) << numbers[i];
    }
  }
}

TEST(CodecPropertyTest, Float32SurvivesEncodeAndDecode) {
  NumbersSurviveEncodeAndDecode<float, std::uint32_t>(ElementType::kFloat32);
}

TEST(CodecPropertyTest, Float64SurvivesEncodeAndDecode) {
  NumbersSurviveEncodeAndDecode<double, std::uint64_t>(ElementType::kFloat64);
}

TEST(CodecPropertyTest, NumbersDecodeAsStrtodReadsThem) {
  const unsigned seed = Seed();
  SCOPED_TRACE("MILLRACE_TEST_SEED=" + std::to_string(seed));
  std::mt19937_64 random(seed);
  const auto below = [&random](std::size_t n) { return random() % n; };
  RequestDecoder decoder(CodecLimits{});
  const RowLayout layout = MakeLayout(ElementType::kFloat64, {1});
  for (int round = 0; round < 20'000; ++round) {
    std::string number = below(2) == 0 ? "-" : "";
    const std::size_t whole = 1 + below(below(4) == 0 ? 30 : 6);
    number += static_cast<char>('1' + below(9));
    for (std::size_t i = 1; i < whole; ++i) number += static_cast<char>('0' + below(10));
    if (below(3) != 0) {
      number += '.';
      const std::size_t digits = 1 + below(25);
      for (std::size_t i = 0; i < digits; ++i) number += static_cast<char>('0' + below(10));
    }
    if (below(3) == 0) {
      number += below(2) == 0 ? "e" : "E";
      number += std::to_string(static_cast<int>(below(640)) - 330);
    }
    const double expected = std::strtod(number.c_str(), nullptr);
    TestRequest request(R"({"request_id":"r","tenant_id":"t","input":[)" + number + "]}");
    const auto failure = request.Decode(decoder, layout);
    ASSERT_EQ(failure.has_value(), !std::isfinite(expected)) << number;
    if (!failure) {
      ASSERT_EQ(request.Row<double>(1)[0], expected) << number;
    }
  }
}

TEST(CodecPropertyTest, EveryTruncationFailsCleanly) {
  RequestDecoder decoder(CodecLimits{});
  TestRequest whole(kRequest);
  const auto none = whole.Decode(decoder, kLayout);
  ASSERT_FALSE(none) << none->detail;
  for (std::size_t size = 0; size < kRequest.size(); ++size) {
    for (const bool with_header : {true, false}) {
      TestRequest cut = with_header ? TestRequest(kRequest.substr(0, size))
                                    : TestRequest(kRequest.substr(0, size), {});
      const auto failure = cut.Decode(decoder, kLayout);
      ASSERT_TRUE(failure) << size;
      ASSERT_EQ(failure->reason, FailureReason::kDecode) << size;
      ASSERT_FALSE(failure->detail.empty());
    }
  }
}

TEST(CodecPropertyTest, NoChangedByteBreaksTheDecoder) {
  RequestDecoder decoder(CodecLimits{});
  for (std::size_t at = 0; at < kRequest.size(); ++at) {
    for (int byte = 0; byte < 256; ++byte) {
      std::string value(kRequest);
      value[at] = static_cast<char>(byte);
      TestRequest changed(value);
      const auto failure = changed.Decode(decoder, kLayout);
      if (failure) {
        ASSERT_FALSE(failure->detail.empty());
        ASSERT_LE(failure->detail.size(), kMaxFailureDetailBytes);
      } else {
        ASSERT_FALSE(changed.request().request_id.empty());
        ASSERT_FALSE(changed.request().tenant_id.empty());
      }
    }
  }
}

// A request is read without an index when it is plain from end to end, and with one when not. A key
// that nobody knows makes it not plain, and may change nothing else.
void ExpectPlainAndStrictAgree(RequestDecoder& decoder, const std::string& value) {
  const std::size_t brace = value.find('{');
  if (brace == std::string::npos) return;
  TestRequest plain(value);
  TestRequest strict(std::string(value).insert(brace + 1, R"("un\u006bnown":0,)"));
  const auto failure = plain.Decode(decoder, kLayout);
  const auto expected = strict.Decode(decoder, kLayout);
  ASSERT_EQ(failure.has_value(), expected.has_value()) << value;
  if (failure) {
    ASSERT_EQ(failure->reason, expected->reason) << value;
    // Positions move, and so do the words for what is cut in the middle of the first key.
    if (failure->reason != FailureReason::kDecode) {
      ASSERT_EQ(failure->detail, expected->detail) << value;
    }
  } else {
    ASSERT_EQ(plain.Row<std::uint32_t>(4), strict.Row<std::uint32_t>(4)) << value;
    ASSERT_EQ(plain.request().metadata, strict.request().metadata) << value;
    ASSERT_EQ(plain.request().model_version, strict.request().model_version) << value;
    ASSERT_EQ(plain.request().enqueued_at, strict.request().enqueued_at) << value;
    ASSERT_EQ(plain.request().deadline, strict.request().deadline) << value;
  }
  ASSERT_EQ(plain.request().request_id, strict.request().request_id) << value;
  ASSERT_EQ(plain.request().tenant_id, strict.request().tenant_id) << value;
}

TEST(CodecPropertyTest, PlainAndStrictReadingAgree) {
  const unsigned seed = Seed();
  SCOPED_TRACE("MILLRACE_TEST_SEED=" + std::to_string(seed));
  std::mt19937_64 random(seed);
  constexpr std::string_view kPlain =
      R"({"request_id":"r-1", "tenant_id":"acme","model_id":"m","model_version":"1",)"
      R"("input":[1.5, -2e-3,0,17.25],"metadata":{"k":"v","l":"w"},)"
      R"("enqueued_at":"2026-11-21T07:15:27.123Z","timeout_ms":5000})";
  constexpr std::string_view kBytes = "{}[]\",:0123456789.eE+-\\ntu \n\x7F\xC3\xA9/a";
  RequestDecoder decoder(CodecLimits{});
  for (int round = 0; round < 50'000 && !HasFatalFailure(); ++round) {
    std::string value(kPlain);
    for (std::size_t changes = random() % 3; changes > 0; --changes) {
      // Behind the first brace, where the other key goes.
      const std::size_t at = 1 + random() % (value.size() - 1);
      const char byte = kBytes[random() % kBytes.size()];
      switch (random() % 4) {
        case 0:
          value[at] = byte;
          break;
        case 1:
          value.insert(at, 1, byte);
          break;
        case 2:
          value.insert(at, value.substr(1 + random() % (value.size() - 1), random() % 12));
          break;
        default:
          value.erase(at, random() % 4);
      }
    }
    ExpectPlainAndStrictAgree(decoder, value);
  }
}

TEST(CodecPropertyTest, OrderOfKeysMakesNoDifference) {
  const unsigned seed = Seed();
  SCOPED_TRACE("MILLRACE_TEST_SEED=" + std::to_string(seed));
  std::mt19937 random(seed);
  std::vector<std::string> fields = {
      R"("request_id":"r")",        R"("tenant_id":"t")",
      R"("model_id":"m")",          R"("input":[1,2,3,4])",
      R"("model_version":"2")",     R"("metadata":{"a":"b"})",
      R"("timeout_ms":10)",         R"("priority":1)",
      R"("unknown":{"input":[1]})", R"("enqueued_at":"1970-01-01T00:00:01Z")"};
  RequestDecoder decoder(CodecLimits{});
  for (int round = 0; round < 500; ++round) {
    std::shuffle(fields.begin(), fields.end(), random);
    std::string value = "{";
    for (const std::string& field : fields) value.append(value.size() > 1 ? "," : "").append(field);
    TestRequest request(value + "}", {});
    const auto failure = request.Decode(decoder, kLayout);
    ASSERT_FALSE(failure) << value << failure->detail;
    ASSERT_EQ(request.request().deadline, 1010) << value;
    ASSERT_EQ(request.request().metadata, R"({"a":"b"})");
    ASSERT_EQ(request.request().model_version, "2");
    ASSERT_EQ(request.Row<float>(4), (std::vector<float>{1, 2, 3, 4}));
  }
}

}  // namespace
}  // namespace millrace
