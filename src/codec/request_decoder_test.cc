#include "codec/request_decoder.h"

#include <gtest/gtest.h>

#include <ostream>

#include "codec/test_request_internal.h"

namespace millrace {
namespace {

const RowLayout kTwoFloats = MakeLayout(ElementType::kFloat32, {2});

// A good request for kTwoFloats whose fields can be added to.
std::string With(std::string_view more) {
  std::string value = R"({"request_id":"r","tenant_id":"t","input":[1,2])";
  return value.append(more).append("}");
}

TEST(RequestDecoderTest, ReadsEveryField) {
  TestRequest request(
      R"({"priority": -7, "timeout_ms": 1500, "enqueued_at": "2026-11-21T07:15:27.5+01:00",
          "metadata" : {"a": "1", "b": "two \u00e9"} , "inputs": {"x": [1.5, -2e1]},
          "model_version": "3.1", "model_id": "m", "tenant_id": "acme", "request_id": "r-1",
          "extra": {"deep": [1, {"a": null}], "b": [true, false, "x\n"]}})");
  const auto failure = request.Decode(kTwoFloats);
  ASSERT_FALSE(failure) << failure->detail;
  const InferenceRequest& got = request.request();
  EXPECT_EQ(got.request_id, "r-1");
  EXPECT_EQ(got.tenant_id, "acme");
  EXPECT_EQ(got.model_id, "m");
  EXPECT_EQ(got.model_version, "3.1");
  EXPECT_EQ(got.metadata, R"({"a": "1", "b": "two \u00e9"})");
  EXPECT_EQ(got.enqueued_at, "2026-11-21T07:15:27.5+01:00");
  EXPECT_EQ(got.priority, -7);
  EXPECT_EQ(got.deadline, 1'795'241'727'500 + 1500);
  EXPECT_EQ(request.Row<float>(2), (std::vector<float>{1.5F, -20.0F}));
}

TEST(RequestDecoderTest, LeavesStringsWithoutEscapesInTheRecord) {
  TestRequest request(With(R"(,"metadata":{"k":"v"},"enqueued_at":"2026-01-01T00:00:00Z")"));
  ASSERT_FALSE(request.Decode(kTwoFloats));
  const std::string_view value = request.record().value;
  for (const std::string_view text : {request.request().request_id, request.request().tenant_id,
                                      request.request().metadata, request.request().enqueued_at}) {
    EXPECT_TRUE(text.data() > value.data() && text.data() < value.data() + value.size()) << text;
  }
}

TEST(RequestDecoderTest, UnescapesKeysAndStrings) {
  TestRequest request(
      R"({"\u0069nput":[3,4],"request\u005fid":"r\u002d1","tenant_id":"\"t\"\/\ud83d\ude00"})");
  const auto failure = request.Decode(kTwoFloats);
  ASSERT_FALSE(failure) << failure->detail;
  EXPECT_EQ(request.request().request_id, "r-1");
  EXPECT_EQ(request.request().tenant_id, "\"t\"/\U0001F600");
  EXPECT_EQ(request.Row<float>(2), (std::vector<float>{3, 4}));
}

TEST(RequestDecoderTest, TakesIdsFromHeadersAndKey) {
  TestRequest request(R"({"input":[1,2]})", {{"model_id", "m"}, {"request_id", "r"}});
  request.Key("a|b|m");
  ASSERT_FALSE(request.Decode(kTwoFloats));
  EXPECT_EQ(request.request().request_id, "r");
  EXPECT_EQ(request.request().tenant_id, "a|b");

  TestRequest both(R"({"input":[1,2],"tenant_id":"t"})",
                   {{"model_id", "m"}, {"request_id", "r"}, {"tenant_id", "t"}});
  both.Key("other|m");
  ASSERT_FALSE(both.Decode(kTwoFloats));
  EXPECT_EQ(both.request().tenant_id, "t");
}

TEST(RequestDecoderTest, TreatsEmptyAndNullHeadersAsAbsent) {
  TestRequest request(R"({"model_id":"m2","request_id":"r","tenant_id":"t","input":[1,2]})",
                      {{"request_id", ""}, {"tenant_id", ""}, {"deadline_ms", ""}});
  request.NullHeader("model_id");
  const auto failure = request.Decode(kTwoFloats);
  ASSERT_FALSE(failure) << failure->detail;
  EXPECT_EQ(request.request().model_id, "m2");
  EXPECT_EQ(request.request().deadline, 0);
}

TEST(RequestDecoderTest, FindsModelAndVersionInTheValueWhenNoHeaderNamesIt) {
  TestRequest request(
      R"({"input":[1,2],"request_id":"r","tenant_id":"t","model_version":"9","model_id":"m"})", {});
  RequestDecoder decoder(CodecLimits{});
  InferenceRequest got;
  ASSERT_FALSE(decoder.Begin(request.record(), request.scratch(), &got));
  EXPECT_EQ(got.model_id, "m");
  EXPECT_EQ(got.model_version, "9");
  alignas(8) std::byte row[8];
  ASSERT_FALSE(decoder.Finish(request.record(), kTwoFloats, request.scratch(), &got, row));
  EXPECT_EQ(got.model_id, "m");
  EXPECT_EQ(got.tenant_id, "t");
}

TEST(RequestDecoderTest, LeavesTheValueAloneInBeginWhenTheHeaderNamesTheModel) {
  TestRequest request("{not json");
  RequestDecoder decoder(CodecLimits{});
  InferenceRequest got;
  EXPECT_FALSE(decoder.Begin(request.record(), request.scratch(), &got));
  EXPECT_EQ(got.model_id, "m");
}

TEST(RequestDecoderTest, MayFinishAgainWithAnotherVersionsLayout) {
  TestRequest request(R"({"input":[1,2],"model_version":"2","request_id":"r","tenant_id":"t"})");
  RequestDecoder decoder(CodecLimits{});
  InferenceRequest got;
  alignas(8) std::byte row[24];
  ASSERT_FALSE(decoder.Begin(request.record(), request.scratch(), &got));
  const auto first = decoder.Finish(request.record(), MakeLayout(ElementType::kFloat32, {3}),
                                    request.scratch(), &got, row);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->reason, FailureReason::kInvalidShape);
  EXPECT_EQ(got.model_version, "2");
  EXPECT_FALSE(decoder.Finish(request.record(), kTwoFloats, request.scratch(), &got, row));
}

TEST(RequestDecoderTest, LeavesATimeoutWithoutAStartToWhoeverKnowsThePoll) {
  TestRequest request(With(R"(,"timeout_ms":250)"),
                      {{"model_id", "m"}, {"deadline_ms", "5000000"}});
  Record record = request.record();
  record.timestamp = -1;
  RequestDecoder decoder{CodecLimits{}};
  InferenceRequest got;
  alignas(16) std::byte row[8];
  ASSERT_FALSE(decoder.Begin(record, request.scratch(), &got));
  ASSERT_FALSE(decoder.Finish(record, kTwoFloats, request.scratch(), &got, row));
  EXPECT_EQ(got.timeout_ms, 250);
  EXPECT_EQ(got.deadline, 5'000'000) << "what does not depend on it stays";
}

TEST(RequestDecoderTest, TakesTheEarliestDeadline) {
  struct Case {
    std::string_view header, more;
    WallMillis deadline;
  };
  for (const Case& c : {
           Case{"", "", 0},
           Case{"5000000", "", 5'000'000},
           Case{"", R"(,"timeout_ms":250)", 1'000'250},
           Case{"1000100", R"(,"timeout_ms":250)", 1'000'100},
           Case{"1000300", R"(,"timeout_ms":250)", 1'000'250},
           Case{"", R"(,"timeout_ms":250,"enqueued_at":"1970-01-01T00:00:01Z")", 1250},
           Case{"", R"(,"timeout_ms":250,"enqueued_at":"0001-01-01T00:00:01Z")", 1},
           Case{"", R"(,"enqueued_at":"1970-01-01T00:00:01Z")", 0},
       }) {
    TestRequest request(With(c.more), {{"model_id", "m"}, {"deadline_ms", c.header}});
    ASSERT_FALSE(request.Decode(kTwoFloats));
    EXPECT_EQ(request.request().deadline, c.deadline) << c.header << c.more;
  }
}

TEST(RequestDecoderTest, TakesNullForOptionalFieldsOnly) {
  TestRequest request(With(R"(,"metadata":null,"enqueued_at":null,"timeout_ms":null,)"
                           R"("priority":null,"model_version":null)"));
  ASSERT_FALSE(request.Decode(kTwoFloats));
  EXPECT_EQ(request.request().metadata, "");
  EXPECT_EQ(request.request().priority, 0);
  TestRequest id(R"({"request_id":null,"tenant_id":"t","input":[1,2]})");
  const auto failure = id.Decode(kTwoFloats);
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->reason, FailureReason::kInvalidValue);
}

TEST(RequestDecoderTest, KeepsIdsThatComeAfterTheFault) {
  TestRequest request(R"({"input":[1],"priority":"x","request_id":"r","tenant_id":"t"})");
  const auto failure = request.Decode(kTwoFloats);
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->detail, "input has 1 numbers, model 'm' expects 2 (shape [N,2])");
  EXPECT_EQ(request.request().tenant_id, "t");
  EXPECT_EQ(request.request().request_id, "r");
}

TEST(RequestDecoderTest, PrefersDecodeOverOtherReasons) {
  TestRequest request(R"({"input":[1],"request_id":"r","tenant_id":"t",})");
  EXPECT_EQ(request.Decode(kTwoFloats)->reason, FailureReason::kDecode);
}

std::string Nested(int levels) {
  return std::string(static_cast<std::size_t>(levels), '[') +
         std::string(static_cast<std::size_t>(levels), ']');
}

TEST(RequestDecoderTest, TakesNestingUpToTheLimit) {
  TestRequest fits(With(R"(,"u":)" + Nested(kMaxJsonDepth - 1)));
  EXPECT_FALSE(fits.Decode(kTwoFloats));
  TestRequest deep(With(R"(,"u":)" + Nested(kMaxJsonDepth)));
  const auto failure = deep.Decode(kTwoFloats);
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->reason, FailureReason::kDecode);
  EXPECT_NE(failure->detail.find("deeper than 32"), std::string::npos) << failure->detail;
  for (const std::string_view field : {"input", "inputs", "metadata"}) {
    std::string value = R"({"request_id":"r","tenant_id":"t",")";
    value.append(field).append(field == "inputs" ? R"(":{"x":)" : R"(":)").append(Nested(1000));
    value.append(field == "inputs" ? "}}" : "}");
    TestRequest hostile(value);
    EXPECT_EQ(hostile.Decode(kTwoFloats)->reason, FailureReason::kDecode) << field;
  }
}

struct BadValue {
  std::string_view name, value;
  FailureReason reason;
  std::string_view detail_has;
};

void PrintTo(const BadValue& value, std::ostream* out) { *out << value.value; }

class RequestDecoderRejects : public testing::TestWithParam<BadValue> {};

TEST_P(RequestDecoderRejects, WithReasonAndDetail) {
  const BadValue& c = GetParam();
  TestRequest request(c.value);
  const auto failure = request.Decode(kTwoFloats);
  ASSERT_TRUE(failure) << c.value;
  EXPECT_EQ(FailureReasonName(failure->reason), FailureReasonName(c.reason)) << failure->detail;
  EXPECT_NE(failure->detail.find(c.detail_has), std::string::npos) << failure->detail;
  EXPECT_LE(failure->detail.size(), kMaxFailureDetailBytes);
  EXPECT_EQ(failure->detail.find('\n'), std::string::npos);
}

constexpr auto kDecodeReason = FailureReason::kDecode;
constexpr auto kValueReason = FailureReason::kInvalidValue;
constexpr auto kShapeReason = FailureReason::kInvalidShape;
#define IDS R"("request_id":"r","tenant_id":"t",)"
#define GOOD R"({"request_id":"r","tenant_id":"t","input":[1,2])"

INSTANTIATE_TEST_SUITE_P(
    Malformed, RequestDecoderRejects,
    testing::Values(
        BadValue{"Empty", "", kDecodeReason, "empty"},
        BadValue{"Blank", " \n\t ", kDecodeReason, "white space"},
        BadValue{"Array", "[1]", kDecodeReason, "not a JSON object"},
        BadValue{"Scalar", "7", kDecodeReason, "not a JSON object"},
        BadValue{"String", "\"x\"", kDecodeReason, "not a JSON object"},
        BadValue{"Null", "null", kDecodeReason, "not a JSON object"},
        BadValue{"ByteOrderMark", "\xEF\xBB\xBF" GOOD "}", kDecodeReason, "byte order mark"},
        BadValue{"NotUtf8", GOOD ",\"u\":\"\xC3\x28\"}", kDecodeReason, "not UTF-8, at byte 53"},
        BadValue{"Surrogate", GOOD ",\"u\":\"\xED\xA0\x80\"}", kDecodeReason, "not UTF-8"},
        BadValue{"LoneSurrogateEscape", GOOD R"(,"u":"\ud800"})", kDecodeReason, "well-formed"},
        BadValue{"BadEscape", GOOD R"(,"u":"\x"})", kDecodeReason, "well-formed"},
        BadValue{"BadEscapeInKey", GOOD R"(,"\x":1})", kDecodeReason, "well-formed"},
        BadValue{"ControlInString", GOOD ",\"u\":\"a\tb\"}", kDecodeReason, "control character"},
        BadValue{"Cut", GOOD, kDecodeReason, "cut"},
        BadValue{"CutString", R"({"request_id":"r)", kDecodeReason, "not closed"},
        BadValue{"Trailing", GOOD "} x", kDecodeReason, "behind"},
        BadValue{"TwoObjects", GOOD "}" GOOD "}", kDecodeReason, "behind"},
        BadValue{"ExtraBrace", GOOD "}}", kDecodeReason, "behind"},
        BadValue{"ZeroByteBehind", std::string_view(GOOD "}\0", sizeof(GOOD) + 1), kDecodeReason,
                 "behind"},
        BadValue{"TrailingComma", GOOD ",}", kDecodeReason, "well-formed"},
        BadValue{"TrailingCommaInArray", R"({)" IDS R"("input":[1,2,]})", kDecodeReason, "byte 47"},
        BadValue{"MissingComma", R"({"request_id":"r" "tenant_id":"t"})", kDecodeReason, "byte"},
        BadValue{"MissingColon", R"({"request_id" "r"})", kDecodeReason, "byte"},
        BadValue{"UnquotedKey", R"({request_id:"r"})", kDecodeReason, "byte"},
        BadValue{"SingleQuotes", R"({'request_id':'r'})", kDecodeReason, "byte"},
        BadValue{"KeyIsString2", GOOD R"(,"u":"b":1})", kDecodeReason, "byte"},
        BadValue{"NanWord", R"({)" IDS R"("input":[1,NaN]})", kDecodeReason, "NaN"},
        BadValue{"InfinityWord", R"({)" IDS R"("input":[1,-Infinity]})", kDecodeReason, "Infinity"},
        BadValue{"NanInUnknown", GOOD R"(,"u":NaN})", kDecodeReason, "NaN"},
        BadValue{"BadLiteral", GOOD R"(,"u":tru})", kDecodeReason, "tru"},
        BadValue{"BadNull", GOOD R"(,"u":nul})", kDecodeReason, "nul"},
        BadValue{"BadOptionalNull", GOOD R"(,"metadata":nope})", kDecodeReason, "nope"},
        BadValue{"LeadingZero", R"({)" IDS R"("input":[01,2]})", kDecodeReason, "01"},
        BadValue{"LeadingPlus", R"({)" IDS R"("input":[+1,2]})", kDecodeReason, "+1"},
        BadValue{"BareDot", R"({)" IDS R"("input":[1.,2]})", kDecodeReason, "1."},
        BadValue{"BareExponent", GOOD R"(,"u":1e})", kDecodeReason, "1e"},
        BadValue{"Hex", GOOD R"(,"u":0x10})", kDecodeReason, "0x10"},
        BadValue{"Comment", GOOD " /* no */}", kDecodeReason, "byte"},
        BadValue{"Duplicate", GOOD R"(,"input":[1,2]})", kDecodeReason, "'input' occurs twice"},
        BadValue{"DuplicateId", GOOD R"(,"request_id":"r"})", kDecodeReason, "'request_id'"},
        BadValue{"DuplicateUnknown", GOOD R"(,"u":1,"v":2,"u":3})", kDecodeReason, "'u' occurs"},
        BadValue{"DuplicateEscaped", GOOD R"(,"u":1,"\u0075":2})", kDecodeReason, "'u' occurs"},
        BadValue{"DuplicateEscapedKnown", GOOD R"(,"\u0069nput":2})", kDecodeReason, "twice"},
        BadValue{"DuplicateInMetadata", GOOD R"(,"metadata":{"a":"1","a":"2"}})", kDecodeReason,
                 "'a' occurs twice"},
        BadValue{"DuplicateInInputs", R"({)" IDS R"("inputs":{"x":[1,2],"x":[1,2]}})",
                 kDecodeReason, "'x' occurs twice"},
        BadValue{"DuplicateInUnknown", GOOD R"(,"u":[{"k":1,"k":2}]})", kDecodeReason,
                 "'k' occurs twice"},
        BadValue{"WrongBrackets", R"({)" IDS R"("input":[1,2}})", kDecodeReason, "byte"},
        BadValue{"UnclosedInner", R"({)" IDS R"("u":{"a":1})", kDecodeReason, ""}),
    [](const auto& param) { return std::string(param.param.name); });

INSTANTIATE_TEST_SUITE_P(
    Unacceptable, RequestDecoderRejects,
    testing::Values(
        BadValue{"NoRequestId", R"({"tenant_id":"t","input":[1,2]})", kValueReason, "request_id"},
        BadValue{"NoTenantId", R"({"request_id":"r","input":[1,2]})", kValueReason, "tenant_id"},
        BadValue{"EmptyRequestId", R"({"request_id":"","tenant_id":"t","input":[1,2]})",
                 kValueReason, "request_id is empty"},
        BadValue{"NumericRequestId", R"({"request_id":7,"tenant_id":"t","input":[1,2]})",
                 kValueReason, "request_id is a number, expected a string"},
        BadValue{"ControlInId", R"({"request_id":"a\nb","tenant_id":"t","input":[1,2]})",
                 kValueReason, "control character: 'a?b'"},
        BadValue{"DeleteInId", "{\"request_id\":\"a\x7f\",\"tenant_id\":\"t\",\"input\":[1,2]}",
                 kValueReason, "control character"},
        BadValue{"OtherModel", GOOD R"(,"model_id":"n"})", kValueReason,
                 "model_id contradicts itself: the header says 'm', the value says 'n'"},
        BadValue{"BadModelId", GOOD R"(,"model_id":"../m"})", kValueReason,
                 "'../m' does not match"},
        BadValue{"BadVersion", GOOD R"(,"model_version":"a b"})", kValueReason, "model_version"},
        BadValue{"VersionNumber", GOOD R"(,"model_version":2})", kValueReason, "a number"},
        BadValue{"NoInput", R"({"request_id":"r","tenant_id":"t"})", kShapeReason,
                 "input is missing, model 'm' expects 2 numbers (shape [N,2])"},
        BadValue{"TooFew", R"({)" IDS R"("input":[1]})", kShapeReason, "input has 1 numbers"},
        BadValue{"None", R"({)" IDS R"("input":[]})", kShapeReason, "input has 0 numbers"},
        BadValue{"TooMany", R"({)" IDS R"("input":[1,2,3,4]})", kShapeReason,
                 "input has 4 numbers"},
        BadValue{"InputObject", R"({)" IDS R"("input":{}})", kShapeReason, "input is an object"},
        BadValue{"InputNumber", R"({)" IDS R"("input":5})", kShapeReason, "input is a number"},
        BadValue{"InputNull", R"({)" IDS R"("input":null})", kShapeReason, "input is null"},
        BadValue{"Both", GOOD R"(,"inputs":{"x":[1,2]}})", kValueReason, "both input and inputs"},
        BadValue{"InputsArray", R"({)" IDS R"("inputs":[1,2]})", kShapeReason,
                 "inputs is an array"},
        BadValue{"InputsEmpty", R"({)" IDS R"("inputs":{}})", kShapeReason, "inputs lacks 'x'"},
        BadValue{"InputsOther", R"({)" IDS R"("inputs":{"y":[1,2]}})", kShapeReason,
                 "inputs has 'y', model 'm' expects exactly 'x'"},
        BadValue{"InputsMore", R"({)" IDS R"("inputs":{"x":[1,2],"y":1}})", kShapeReason, "'y'"},
        BadValue{"InputsShort", R"({)" IDS R"("inputs":{"x":[1]}})", kShapeReason,
                 "inputs.x has 1 numbers"},
        BadValue{"ElementString", R"({)" IDS R"("input":[1,"2"]})", kValueReason,
                 "input[1] is a string, expected a number"},
        BadValue{"ElementNull", R"({)" IDS R"("input":[null,2]})", kValueReason,
                 "input[0] is null"},
        BadValue{"ElementArray", R"({)" IDS R"("input":[[1,2]]})", kValueReason,
                 "input[0] is an array"},
        BadValue{"FloatOverflow", R"({)" IDS R"("input":[1,3.5e38]})", kValueReason,
                 "input[1] is '3.5e38', which is no FP32"},
        BadValue{"DoubleOverflow", R"({)" IDS R"("input":[1,-1e999]})", kValueReason, "no FP32"},
        BadValue{"MetadataArray", GOOD R"(,"metadata":[]})", kValueReason, "metadata is an array"},
        BadValue{"MetadataNumber", GOOD R"(,"metadata":{"a":1}})", kValueReason,
                 "metadata.'a' is a number"},
        BadValue{"EnqueuedAtText", GOOD R"(,"enqueued_at":"yesterday"})", kValueReason, "RFC 3339"},
        BadValue{"EnqueuedAtNumber", GOOD R"(,"enqueued_at":1})", kValueReason, "a number"},
        BadValue{"TimeoutZero", GOOD R"(,"timeout_ms":0})", kValueReason,
                 "timeout_ms is '0', expected an integer from 1 to 86400000"},
        BadValue{"TimeoutLong", GOOD R"(,"timeout_ms":86400001})", kValueReason, "timeout_ms"},
        BadValue{"TimeoutFraction", GOOD R"(,"timeout_ms":1.5})", kValueReason, "'1.5'"},
        BadValue{"TimeoutString", GOOD R"(,"timeout_ms":"5"})", kValueReason, "timeout_ms"},
        BadValue{"PriorityHigh", GOOD R"(,"priority":1001})", kValueReason, "priority"},
        BadValue{"PriorityLow", GOOD R"(,"priority":-1001})", kValueReason, "priority"},
        BadValue{"PriorityHuge", GOOD R"(,"priority":1e400})", kValueReason, "priority"}),
    [](const auto& param) { return std::string(param.param.name); });

TEST(RequestDecoderTest, RejectsWhatHeadersSayWrongly) {
  struct Case {
    TestRequest::HeaderList headers;
    FailureReason reason;
    std::string_view detail_has;
  };
  const std::string long_id(257, 'x');
  for (const Case& c : {
           Case{{{"model_id", "a/b"}}, kValueReason, "header model_id 'a/b'"},
           Case{{{"model_id", "m"}, {"tenant_id", "\xFF"}}, kValueReason, "not UTF-8: '?'"},
           Case{{{"model_id", "m"}, {"tenant_id", "u"}}, kValueReason, "tenant_id contradicts"},
           Case{{{"model_id", "m"}, {"request_id", "s"}}, kValueReason, "request_id contradicts"},
           Case{{{"model_id", "m"}, {"request_id", "a\nb"}}, kValueReason, "'a?b'"},
           Case{
               {{"model_id", "m"}, {"deadline_ms", "soon"}}, kValueReason, "deadline_ms is 'soon'"},
           Case{{{"model_id", "m"}, {"deadline_ms", "0"}}, kValueReason, "deadline_ms"},
           Case{{{"model_id", "m"}, {"deadline_ms", "1e3"}}, kValueReason, "deadline_ms"},
           Case{{{"model_id", "m"}, {"deadline_ms", "9223372036854775807"}}, kValueReason, ""},
           Case{{{"model_id", "m"}, {"request_id", long_id}}, FailureReason::kTooLarge, "257"},
           Case{{{"model_id", long_id}}, FailureReason::kTooLarge, "257"},
           Case{{}, FailureReason::kMissingModelId, "model_id is missing"},
       }) {
    TestRequest request(With(""), c.headers);
    request.Key("t|m");
    const auto failure = request.Decode(kTwoFloats);
    ASSERT_TRUE(failure) << c.detail_has;
    EXPECT_EQ(failure->reason, c.reason) << failure->detail;
    EXPECT_NE(failure->detail.find(c.detail_has), std::string::npos) << failure->detail;
  }
}

TEST(RequestDecoderTest, KeepsLimits) {
  CodecLimits limits;
  limits.max_request_bytes = 200;
  limits.max_id_bytes = 16;
  limits.max_metadata_bytes = 20;
  limits.max_header_bytes = 100;
  const auto decode = [&](TestRequest request) {
    const auto failure = request.Decode(kTwoFloats, limits);
    return failure ? std::string(FailureReasonName(failure->reason)) : std::string("ok");
  };
  const std::string base = With("");
  EXPECT_EQ(decode(TestRequest(base + std::string(200 - base.size(), ' '))), "ok");
  EXPECT_EQ(decode(TestRequest(base + std::string(201 - base.size(), ' '))), "too_large");
  const auto id = [](std::size_t size) {
    return R"({"tenant_id":"t","input":[1,2],"request_id":")" + std::string(size, 'i') + "\"}";
  };
  EXPECT_EQ(decode(TestRequest(id(16))), "ok");
  EXPECT_EQ(decode(TestRequest(id(17))), "too_large");
  EXPECT_EQ(decode(TestRequest(With(R"(,"metadata":{"k":"0123456789ab"})"))), "ok");
  EXPECT_EQ(decode(TestRequest(With(R"(,"metadata":{"k":"0123456789abc"})"))), "too_large");
  const std::string padding(80, 'h');
  EXPECT_EQ(decode(TestRequest(base, {{"model_id", "m"}, {"h", padding.substr(8)}})), "ok");
  EXPECT_EQ(decode(TestRequest(base, {{"model_id", "m"}, {"h", padding}})), "too_large");
}

TEST(RequestDecoderTest, RejectsARecordWithoutValue) {
  TestRequest request("");
  request.record().has_value = false;
  const auto failure = request.Decode(kTwoFloats);
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->reason, FailureReason::kDecode);
  EXPECT_NE(failure->detail.find("null"), std::string::npos);
}

TEST(RequestDecoderTest, IsUsableAfterAFailure) {
  RequestDecoder decoder(CodecLimits{});
  for (int round = 0; round < 3; ++round) {
    for (const std::string_view bad : {"{", "{\"a\":[[", "{\"a\":1,\"a\":2}", "[]", "\"", "{}x"}) {
      TestRequest request(bad);
      EXPECT_TRUE(request.Decode(decoder, kTwoFloats)) << bad;
      TestRequest good(With(""));
      EXPECT_FALSE(good.Decode(decoder, kTwoFloats)) << bad;
    }
  }
}

TEST(RequestDecoderTest, NeverQuotesMuchOfThePayload) {
  const std::string secret(5000, 's');
  for (const std::string& value :
       {With(",\"u\":" + secret), With(",\"" + secret + "\":1,\"" + secret + "\":2"),
        With(R"(,"enqueued_at":")" + secret + "\""), With(R"(,"metadata":{")" + secret + "\":1}"),
        R"({"inputs":{")" + secret + R"(":[1]}})"}) {
    TestRequest request(value);
    const auto failure = request.Decode(kTwoFloats);
    ASSERT_TRUE(failure);
    EXPECT_EQ(failure->detail.find(std::string(65, 's')), std::string::npos) << failure->detail;
  }
}

}  // namespace
}  // namespace millrace
