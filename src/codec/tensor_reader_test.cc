#include <gtest/gtest.h>

#include <limits>

#include "codec/test_request_internal.h"

namespace millrace {
namespace {

std::string Request(std::string_view input) {
  return std::string(R"({"request_id":"r","tenant_id":"t",)").append(input).append("}");
}

// The row that one number becomes, or nothing.
template <class T>
std::optional<T> Decode(ElementType type, std::string_view number) {
  TestRequest request(Request("\"input\":[" + std::string(number) + "]"));
  const auto failure = request.Decode(MakeLayout(type, {1}));
  if (failure) {
    EXPECT_EQ(failure->reason, FailureReason::kInvalidValue) << failure->detail;
    EXPECT_NE(failure->detail.find("input[0] is "), std::string::npos) << failure->detail;
    return std::nullopt;
  }
  return request.Row<T>(1)[0];
}

template <class T>
void TestIntegers(ElementType type) {
  using Limits = std::numeric_limits<T>;
  const auto text = [](auto number) { return std::to_string(number); };
  EXPECT_EQ(Decode<T>(type, text(Limits::max())), Limits::max());
  EXPECT_EQ(Decode<T>(type, text(Limits::min())), Limits::min());
  EXPECT_EQ(Decode<T>(type, "7.0"), T{7});
  EXPECT_EQ(Decode<T>(type, "1e2"), T{100});
  EXPECT_EQ(Decode<T>(type, "-0"), T{0});
  EXPECT_EQ(Decode<T>(type, "-0.0"), T{0});
  EXPECT_EQ(Decode<T>(type, "0.5"), std::nullopt);
  EXPECT_EQ(Decode<T>(type, "1e30"), std::nullopt);
  EXPECT_EQ(Decode<T>(type, "1e400"), std::nullopt);
  EXPECT_EQ(Decode<T>(type, "true"), std::nullopt);
  // One beyond either end, exact also where a double is not.
  if constexpr (sizeof(T) < 8) {
    EXPECT_EQ(Decode<T>(type, text(std::int64_t{Limits::max()} + 1)), std::nullopt);
    EXPECT_EQ(Decode<T>(type, text(std::int64_t{Limits::min()} - 1)), std::nullopt);
    EXPECT_EQ(Decode<T>(type, text(std::int64_t{Limits::max()} + 1) + ".0"), std::nullopt);
  } else {
    EXPECT_EQ(Decode<T>(type, text(Limits::max() - 1)), Limits::max() - 1);
    EXPECT_EQ(Decode<T>(type, "9007199254740993"), T{9007199254740993});
    EXPECT_EQ(Decode<T>(type, "9007199254740993.0"), std::nullopt);
    EXPECT_EQ(Decode<T>(type, std::is_signed_v<T> ? "9223372036854775808" : "18446744073709551616"),
              std::nullopt);
    EXPECT_EQ(Decode<T>(type, std::is_signed_v<T> ? "-9223372036854775809" : "-1"), std::nullopt);
  }
}

TEST(TensorReaderTest, ReadsIntegersExactlyAndWithinTheirType) {
  TestIntegers<std::int8_t>(ElementType::kInt8);
  TestIntegers<std::uint8_t>(ElementType::kUint8);
  TestIntegers<std::int16_t>(ElementType::kInt16);
  TestIntegers<std::uint16_t>(ElementType::kUint16);
  TestIntegers<std::int32_t>(ElementType::kInt32);
  TestIntegers<std::uint32_t>(ElementType::kUint32);
  TestIntegers<std::int64_t>(ElementType::kInt64);
  TestIntegers<std::uint64_t>(ElementType::kUint64);
}

TEST(TensorReaderTest, ReadsFloats) {
  EXPECT_EQ(Decode<float>(ElementType::kFloat32, "3.4028235e38"), 3.4028235e38F);
  EXPECT_EQ(Decode<float>(ElementType::kFloat32, "3.4028236e38"), std::nullopt);
  EXPECT_EQ(Decode<float>(ElementType::kFloat32, "1e-60"), 0.0F);
  EXPECT_EQ(Decode<float>(ElementType::kFloat32, "18446744073709551616"), 18446744073709551616.0F);
  EXPECT_EQ(Decode<double>(ElementType::kFloat64, "1.7976931348623157e308"),
            std::numeric_limits<double>::max());
  EXPECT_EQ(Decode<double>(ElementType::kFloat64, "1.8e308"), std::nullopt);
  EXPECT_EQ(Decode<double>(ElementType::kFloat64, "false"), std::nullopt);
  EXPECT_EQ(Decode<double>(ElementType::kFloat64, "\"NaN\""), std::nullopt);
}

// simdjson 3.0 loses the top of what does not fit 64 bits when a zero stands in front.
TEST(TensorReaderTest, ReadsTwentyOneDigitsBehindALeadingZero) {
  constexpr std::string_view kNumber = "0.126854775834567890123";
  EXPECT_EQ(Decode<float>(ElementType::kFloat32, kNumber), 0.126854775834567890123F);
  EXPECT_EQ(Decode<double>(ElementType::kFloat64, kNumber), 0.126854775834567890123);
  TestRequest scalar(Request("\"inputs\":{\"x\":" + std::string(kNumber) + "}"));
  ASSERT_FALSE(scalar.Decode(MakeLayout(ElementType::kFloat64, {})));
  EXPECT_EQ(scalar.Row<double>(1)[0], 0.126854775834567890123);
}

TEST(TensorReaderTest, RoundsToFloatOnce) {
  // A little above the middle of two floats, nearer to it than doubles are to each other.
  constexpr std::string_view kNumber = "1.00000017881393432617187501";
  EXPECT_EQ(Decode<float>(ElementType::kFloat32, kNumber), 0x1.000004p0F);
  TestRequest scalar(Request("\"inputs\":{\"x\":" + std::string(kNumber) + "}"));
  ASSERT_FALSE(scalar.Decode(MakeLayout(ElementType::kFloat32, {})));
  EXPECT_EQ(scalar.Row<float>(1)[0], 0x1.000004p0F);
}

TEST(TensorReaderTest, ReadsBooleans) {
  EXPECT_EQ(Decode<bool>(ElementType::kBool, "true"), true);
  EXPECT_EQ(Decode<bool>(ElementType::kBool, "false"), false);
  EXPECT_EQ(Decode<bool>(ElementType::kBool, "1"), true);
  EXPECT_EQ(Decode<bool>(ElementType::kBool, "0.0"), false);
  EXPECT_EQ(Decode<bool>(ElementType::kBool, "2"), std::nullopt);
  EXPECT_EQ(Decode<bool>(ElementType::kBool, "null"), std::nullopt);
}

TEST(TensorReaderTest, ReadsNestedAndFlatInputs) {
  const RowLayout layout = MakeLayout(ElementType::kInt32, {2, 1, 3}, "image");
  const std::vector<std::int32_t> expected = {1, 2, 3, 4, 5, 6};
  for (const std::string_view input :
       {R"("inputs":{"image":[[[1,2,3]],[[4,5,6]]]})", R"("inputs":{"image":[1,2,3,4,5,6]})",
        R"("input":[1,2,3,4,5,6])",
        R"("inputs" : { "image" : [ [ [ 1,2,3 ] ] , [ [ 4,5,6 ] ] ] })"}) {
    TestRequest request(Request(input));
    const auto failure = request.Decode(layout);
    ASSERT_FALSE(failure) << failure->detail;
    EXPECT_EQ(request.Row<std::int32_t>(6), expected) << input;
  }
}

TEST(TensorReaderTest, RejectsOtherNesting) {
  const RowLayout layout = MakeLayout(ElementType::kInt32, {2, 3});
  struct Case {
    std::string_view input, detail;
  };
  for (const Case& c : {
           Case{"[[1,2,3]]", "inputs.x has 1 entries in dimension 1 at element 0, expected 2"},
           Case{"[[1,2,3],[4,5,6],[7]]", "inputs.x has 3 entries in dimension 1"},
           Case{"[[1,2,3],[4,5]]",
                "inputs.x has 2 entries in dimension 2 at element 3, expected 3"},
           Case{"[[1,2,3],[4,5,6,7]]", "inputs.x has 4 entries in dimension 2 at element 3"},
           Case{"[[1,2,3],4]", "inputs.x has a number in dimension 2, expected an array"},
           Case{"[[1,2,3],[4,5,[6]]]", "inputs.x[5] is an array, expected a number"},
           Case{"[[[1,2,3],[4,5,6]]]", "inputs.x[0] is an array"},
           Case{"[1,2,3,4,5]", "inputs.x has 5 numbers, model 'm' expects 6 (shape [N,2,3])"},
           Case{"[1,[2,3],4]", "inputs.x[1] is an array"},
           Case{"[]", "inputs.x has 0 numbers"},
           Case{"7", "inputs.x is a number, expected an array of 6 numbers"},
       }) {
    TestRequest request(Request("\"inputs\":{\"x\":" + std::string(c.input) + "}"));
    const auto failure = request.Decode(layout);
    ASSERT_TRUE(failure) << c.input;
    EXPECT_EQ(failure->detail.find(c.detail), 0U) << failure->detail;
  }
}

TEST(TensorReaderTest, ReadsAScalarRow) {
  const RowLayout layout = MakeLayout(ElementType::kFloat64, {});
  for (const std::string_view input :
       {R"("input":[2.5])", R"("inputs":{"x":2.5})", R"("inputs":{"x":[2.5]})"}) {
    TestRequest request(Request(input));
    const auto failure = request.Decode(layout);
    ASSERT_FALSE(failure) << failure->detail;
    EXPECT_EQ(request.Row<double>(1)[0], 2.5);
  }
  TestRequest text(Request(R"("inputs":{"x":true})"));
  EXPECT_EQ(text.Decode(layout)->detail, "inputs.x[0] is a boolean, expected a number");
}

}  // namespace
}  // namespace millrace
