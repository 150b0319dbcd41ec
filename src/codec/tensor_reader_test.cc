#include <gtest/gtest.h>

#include <limits>

#include "codec/test_request_internal.h"
#include "types/float16.h"

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

TEST(TensorReaderTest, ReadsHalves) {
  EXPECT_EQ(Decode<Float16>(ElementType::kFloat16, "1.5"), NearestFloat16(1.5));
  EXPECT_EQ(Decode<Float16>(ElementType::kFloat16, "-65519.9"), NearestFloat16(-65504));
  EXPECT_EQ(Decode<Float16>(ElementType::kFloat16, "65520"), std::nullopt);
  EXPECT_EQ(Decode<Float16>(ElementType::kFloat16, "1e-30"), NearestFloat16(0));
  EXPECT_EQ(Decode<Float16>(ElementType::kFloat16, "true"), std::nullopt);
}

TEST(TensorReaderTest, ReadsBooleans) {
  EXPECT_EQ(Decode<bool>(ElementType::kBool, "true"), true);
  EXPECT_EQ(Decode<bool>(ElementType::kBool, "false"), false);
  EXPECT_EQ(Decode<bool>(ElementType::kBool, "1"), true);
  EXPECT_EQ(Decode<bool>(ElementType::kBool, "0.0"), false);
  EXPECT_EQ(Decode<bool>(ElementType::kBool, "2"), std::nullopt);
  EXPECT_EQ(Decode<bool>(ElementType::kBool, "null"), std::nullopt);
}

const RowLayout kMixed = RowLayoutOf({{"a", ElementType::kInt8, {kDynamicDim, 3}},
                                      {"b", ElementType::kFloat64, {kDynamicDim, 1, 2}},
                                      {"c", ElementType::kBool, {kDynamicDim}}});

TEST(TensorReaderTest, ReadsEachInputToItsPlaceInWhateverOrder) {
  for (const std::string_view inputs :
       {R"("inputs":{"a":[1,-2,3],"b":[[0.5,7]],"c":true})",
        R"("inputs":{"c":1,"b":[0.5,7],"a":[1,-2,3.0]})",
        R"("inputs" : { "b":[[0.5,7e0]] , "c":[true], "a":[1,-2,3] })"}) {
    TestRequest request(Request(inputs));
    const auto failure = request.Decode(kMixed);
    ASSERT_FALSE(failure) << failure->detail;
    EXPECT_EQ(request.Row<std::int8_t>(3), (std::vector<std::int8_t>{1, -2, 3}));
    EXPECT_EQ(request.Row<double>(2, kMixed.inputs[1].offset), (std::vector<double>{0.5, 7}));
    EXPECT_EQ(request.Row<std::uint8_t>(1, kMixed.inputs[2].offset)[0], 1);
  }
}

TEST(TensorReaderTest, SaysWhichOfSeveralInputsIsWrongAndHow) {
  const auto detail = [](std::string_view inputs) {
    TestRequest request(Request(inputs));
    const auto failure = request.Decode(kMixed);
    return failure ? failure->detail : std::string("accepted");
  };
  EXPECT_EQ(detail(R"("input":[1,2,3])"),
            "input is for models of one input, model 'm' expects `inputs` with 'a' (shape [N,3]), "
            "'b' (shape [N,1,2]), 'c' (shape [N])");
  EXPECT_EQ(detail(R"("inputs":{"a":[1,2,3]})"),
            "inputs lacks 'b' (shape [N,1,2]), 'c' (shape [N]), which model 'm' expects");
  EXPECT_EQ(detail(R"("inputs":{"a":[1,2,3],"b":[[1]],"c":true})"),
            "inputs.b has 1 entries in dimension 2 at element 0, expected 2 (shape [N,1,2])");
  EXPECT_EQ(detail(R"("inputs":{"a":[1,2,300],"b":[[1,2]],"c":true})"),
            "inputs.a[2] is '300', which is no INT8");
  EXPECT_EQ(detail(R"("inputs":{"a":[1,2,3],"b":[[1,2]],"c":true,"d":1})"),
            "inputs has 'd', model 'm' expects exactly 'a' (shape [N,3]), 'b' (shape [N,1,2]), "
            "'c' (shape [N])");
}

TEST(TensorReaderTest, DimensionsThatTheModelCallsByOneNameMustBeTheSame) {
  const RowLayout layout =
      RowLayoutOf({{"words", ElementType::kInt64, {kDynamicDim, kDynamicDim}, {}, {"N", "L"}},
                   {"mask", ElementType::kInt64, {kDynamicDim, kDynamicDim}, {}, {"N", "L"}}});
  TestRequest same(Request(R"("inputs":{"words":[1,2,3],"mask":[1,1,0]})"));
  EXPECT_FALSE(same.Decode(layout));
  for (const std::string_view inputs : {R"("inputs":{"words":[1,2,3],"mask":[1,1]})",
                                        R"("inputs":{"mask":[1,1],"words":[1,2,3]})"}) {
    TestRequest other(Request(inputs));
    const auto failure = other.Decode(layout);
    ASSERT_TRUE(failure);
    EXPECT_EQ(failure->reason, FailureReason::kInvalidShape);
    EXPECT_EQ(failure->detail,
              "inputs.mask has 2 entries in dimension 1, expected 3: the model calls it 'L', as it "
              "does dimension 1 of inputs.words");
  }
}

TEST(TensorReaderTest, ReadsStringsWithAndWithoutEscapes) {
  const RowLayout layout = MakeLayout(ElementType::kString, {2});
  for (const std::string_view input :
       {R"("input":["gr\u00fcn\n",""])", R"("inputs":{"x":["gr\u00fcn\n",""]})"}) {
    TestRequest request(Request(input));
    const auto failure = request.Decode(layout);
    ASSERT_FALSE(failure) << failure->detail;
    EXPECT_EQ(request.Row<std::string_view>(2),
              (std::vector<std::string_view>{"gr\xC3\xBCn\n", ""}));
  }
  TestRequest number(Request(R"("input":["a",1])"));
  const auto failure = number.Decode(layout);
  ASSERT_TRUE(failure.has_value());
  EXPECT_EQ(failure->detail, "input[1] is a number, expected a string");
}

// Elements of the one input, whose shape is the request's own.
template <class T>
std::vector<T> DynamicRow(const TestRequest& request, std::vector<std::int64_t>* shape) {
  const RowTensor tensor = request.Row<RowTensor>(1)[0];
  shape->assign(tensor.shape, tensor.shape + shape->size());
  std::vector<T> elements(tensor.elements);
  if (!elements.empty()) {
    std::memcpy(elements.data(), tensor.data, elements.size() * sizeof(T));
  }
  return elements;
}

TEST(TensorReaderTest, ReadsShapesThatAreTheRequestsOwn) {
  const RowLayout layout = MakeLayout(ElementType::kInt64, {kDynamicDim, 2});
  for (const std::string_view input :
       {R"("inputs":{"x":[[1,2],[3,4],[5,6]]})", R"("inputs":{"x":[1,2,3,4,5,6]})",
        R"("input":[1,2,3,4,5,6])", R"("inputs" : { "x" : [ [1,2.0] ,[3,4], [5e0,6]] })"}) {
    TestRequest request(Request(input));
    const auto failure = request.Decode(layout);
    ASSERT_FALSE(failure) << failure->detail;
    std::vector<std::int64_t> shape(2);
    EXPECT_EQ(DynamicRow<std::int64_t>(request, &shape),
              (std::vector<std::int64_t>{1, 2, 3, 4, 5, 6}));
    EXPECT_EQ(shape, (std::vector<std::int64_t>{3, 2}));
  }
  TestRequest words(Request(R"("inputs":{"x":[["a","b"],["c","d"]]})"));
  ASSERT_FALSE(words.Decode(MakeLayout(ElementType::kString, {kDynamicDim, kDynamicDim})));
  std::vector<std::int64_t> shape(2);
  EXPECT_EQ(DynamicRow<std::string_view>(words, &shape),
            (std::vector<std::string_view>{"a", "b", "c", "d"}));
}

TEST(TensorReaderTest, SaysWhatIsWrongWithAShape) {
  const RowLayout layout =
      MakeLayout(ElementType::kFloat32, {kDynamicDim, kDynamicDim, 2}, "cloud");
  const auto detail = [&layout](std::string_view inputs) {
    TestRequest request(Request(inputs));
    const auto failure = request.Decode(layout);
    return failure ? failure->detail : std::string("accepted");
  };
  EXPECT_EQ(detail(R"("inputs":{"cloud":[[[1,2]],[[3,4]]]})"), "accepted");
  EXPECT_EQ(detail(R"("inputs":{"cloud":[[[1,2]],[[3,4],[5,6]]]})"),
            "inputs.cloud has 2 entries in dimension 2 where it had 1 before (shape [N,?,?,2])");
  EXPECT_EQ(detail(R"("inputs":{"cloud":[[[1,2,3]]]})"),
            "inputs.cloud has 3 entries in dimension 3 where 2 are expected (shape [N,?,?,2])");
  EXPECT_EQ(detail(R"("inputs":{"cloud":[[]]})"),
            "inputs.cloud has nothing in dimension 2 (shape [N,?,?,2])");
  EXPECT_EQ(detail(R"("inputs":{"cloud":[[1]]})"),
            "inputs.cloud has a number in dimension 3, expected an array (shape [N,?,?,2])");
  EXPECT_EQ(detail(R"("input":[1,2,3,4])"),
            "input is flat, but more than one dimension is open: nest it in `inputs` (shape "
            "[N,?,?,2])");
  EXPECT_EQ(detail(R"("inputs":{"cloud":[[["a",2]]]})"),
            "inputs.cloud[0] is a string, expected a number");
  TestRequest odd(Request(R"("input":[1,2,3])"));
  const auto failure = odd.Decode(MakeLayout(ElementType::kFloat32, {kDynamicDim, 2}));
  ASSERT_TRUE(failure.has_value());
  EXPECT_EQ(failure->detail, "input has 3 numbers, expected a multiple of 2 (shape [N,?,2])");
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
