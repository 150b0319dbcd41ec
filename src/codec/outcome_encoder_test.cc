#include "codec/outcome_encoder.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "codec/test_request_internal.h"

namespace millrace {
namespace {

constexpr WallMillis kNow = 1'795'245'327'123;  // 2026-11-21T07:15:27.123Z
const ModelRef kModel{"m", "3", "0f"};

std::vector<std::pair<std::string, std::string>> HeaderTexts(const OutputRecord& record) {
  EXPECT_TRUE(record.Headers().Valid());
  std::vector<std::pair<std::string, std::string>> texts;
  for (const Header& header : record.Headers()) {
    texts.emplace_back(header.name, header.is_null ? "<null>" : header.value);
  }
  return texts;
}

class ResultEncoderTest : public testing::Test {
 protected:
  template <class T>
  void AddOutput(std::string name, ElementType type, std::vector<std::int64_t> row_shape,
                 const std::vector<T>& data) {
    TensorSpec& spec = specs_.emplace_back();
    spec.name = std::move(name);
    spec.type = type;
    OutputView view;
    view.data = data.data();
    view.elements_per_row = 1;
    for (const std::int64_t dim : row_shape) view.elements_per_row *= static_cast<size_t>(dim);
    view.row_shape = std::move(row_shape);
    outputs_.push_back(view);
    for (std::size_t i = 0; i < outputs_.size(); ++i) outputs_[i].spec = &specs_[i];
  }

  std::optional<Failure> Encode(std::size_t row = 0, Micros latency = Micros(1500)) {
    encoder_.BeginBatch(kModel, outputs_, 64, kNow);
    return encoder_.EncodeRow(request_, {"requests", 5, &source_.record()}, row, latency, chunk_,
                              &out_);
  }
  std::string Value() const { return std::string(out_.Value()); }

  static InferenceRequest MakeRequest() {
    InferenceRequest request;
    request.request_id = "r-1";
    request.tenant_id = "acme";
    request.model_id = "m";
    return request;
  }

  InferenceRequest request_ = MakeRequest();
  TestRequest source_{"{}", {{"model_id", "m"}, {"traceparent", "00-ab"}, {"h", ""}}};
  std::vector<TensorSpec> specs_;
  std::vector<OutputView> outputs_;
  CodecLimits limits_;
  ResultEncoder encoder_{limits_};
  OutputChunk chunk_;
  OutputRecord out_;
};

TEST_F(ResultEncoderTest, WritesTheContractsResult) {
  const std::vector<float> scores = {9, 9, 0.1F, 1e20F};
  AddOutput("y", ElementType::kFloat32, {2}, scores);
  request_.enqueued_at = "2026-11-21T07:15:27Z";
  request_.metadata = R"({"a":"b"})";
  source_.NullHeader("n");
  ASSERT_FALSE(Encode(1));
  EXPECT_EQ(
      Value(),
      R"({"request_id":"r-1","tenant_id":"acme","model_id":"m","model_version":"3",)"
      R"("model_sha256":"0f","status":"ok","output":[0.1,1e+20],"latency_ms":1.5,"batch_size":64,)"
      R"("enqueued_at":"2026-11-21T07:15:27Z","inferred_at":"2026-11-21T07:15:27.123Z",)"
      R"("metadata":{"a":"b"}})");
  EXPECT_EQ(out_.Key(), "r-1");
  EXPECT_EQ(out_.timestamp, kNow);
  EXPECT_EQ(out_.topic, OutputTopic::kResults);
  using Texts = std::vector<std::pair<std::string, std::string>>;
  EXPECT_EQ(HeaderTexts(out_), (Texts{{"model_id", "m"},
                                      {"model_version", "3"},
                                      {"tenant_id", "acme"},
                                      {"source", "requests:5:42"},
                                      {"traceparent", "00-ab"},
                                      {"h", ""},
                                      {"n", "<null>"}}));
}

TEST_F(ResultEncoderTest, ReplacesOnlyItsOwnHeaders) {
  const std::vector<float> scores = {1};
  AddOutput("y", ElementType::kFloat32, {1}, scores);
  source_ = TestRequest("{}", {{"tenant_id", "x"},
                               {"source", "x"},
                               {"b", "1"},
                               {"model_version", "x"},
                               {"request_id", "r-1"},
                               {"b", "2"}});
  ASSERT_FALSE(Encode());
  EXPECT_EQ(out_.Headers().Find("tenant_id"), "acme");
  EXPECT_EQ(out_.Headers().Find("model_version"), "3");
  EXPECT_EQ(HeaderTexts(out_).size(), 7U);
  EXPECT_EQ(HeaderTexts(out_)[4].second, "1");
  EXPECT_EQ(HeaderTexts(out_)[6].second, "2");
}

TEST_F(ResultEncoderTest, NestsSeveralOutputsByShape) {
  const std::vector<std::int64_t> label = {7};
  const std::vector<double> one = {0.25};
  const std::vector<std::uint8_t> grid = {1, 2, 3, 4, 5, 6};
  const std::vector<std::uint8_t> flags = {1, 0};
  const std::vector<float> none;
  AddOutput("label", ElementType::kInt64, {}, label);
  AddOutput("o\"ne", ElementType::kFloat64, {1}, one);
  AddOutput("grid", ElementType::kUint8, {2, 1, 3}, grid);
  AddOutput("flags", ElementType::kBool, {2}, flags);
  AddOutput("none", ElementType::kFloat32, {2, 0}, none);
  ASSERT_FALSE(Encode());
  EXPECT_NE(Value().find(R"("outputs":{"label":7,"o\"ne":[0.25],"grid":[[[1,2,3]],[[4,5,6]]],)"
                         R"("flags":[true,false],"none":[[],[]]},"latency_ms")"),
            std::string::npos)
      << Value();
}

TEST_F(ResultEncoderTest, FlattensTheOnlyOutput) {
  const std::vector<std::int8_t> grid = {-1, 2, 3, 4};
  AddOutput("grid", ElementType::kInt8, {2, 2}, grid);
  ASSERT_FALSE(Encode());
  EXPECT_NE(Value().find(R"("output":[-1,2,3,4],)"), std::string::npos) << Value();
}

TEST_F(ResultEncoderTest, WritesNullForWhatIsNotFinite) {
  const std::vector<float> scores = {NAN, -INFINITY, 1, 2, 2, 2};
  AddOutput("y", ElementType::kFloat32, {3}, scores);
  ASSERT_FALSE(Encode(0));
  EXPECT_NE(Value().find(R"("output":[null,null,1],"non_finite":true,)"), std::string::npos);
  ASSERT_FALSE(Encode(1));
  EXPECT_EQ(Value().find("non_finite"), std::string::npos);
}

TEST_F(ResultEncoderTest, EscapesStrings) {
  const std::vector<float> scores = {1};
  AddOutput("y", ElementType::kFloat32, {1}, scores);
  const std::string hostile = "a\"b\\c/\xC3\xA9 1234567\"";
  request_.request_id = hostile;
  request_.tenant_id = hostile;
  ASSERT_FALSE(Encode());
  EXPECT_EQ(Value().find(R"({"request_id":"a\"b\\c/)"
                         "\xC3\xA9"
                         R"( 1234567\"","tenant_id":"a\"b)"),
            0U)
      << Value();
  EXPECT_EQ(out_.Key(), hostile);
}

TEST_F(ResultEncoderTest, WritesLatencyWithAtMostThreeDecimals) {
  const std::vector<float> scores = {1};
  AddOutput("y", ElementType::kFloat32, {1}, scores);
  for (const auto& [micros, text] :
       std::vector<std::pair<std::int64_t, std::string>>{{0, "0"},
                                                         {7, "0.007"},
                                                         {50, "0.05"},
                                                         {900, "0.9"},
                                                         {1000, "1"},
                                                         {12340, "12.34"},
                                                         {1001, "1.001"},
                                                         {1010, "1.01"},
                                                         {-5, "0"}}) {
    ASSERT_FALSE(Encode(0, Micros(micros)));
    EXPECT_NE(Value().find("\"latency_ms\":" + text + ","), std::string::npos) << Value();
  }
}

TEST_F(ResultEncoderTest, AppendsNothingWhenTheResultIsTooLarge) {
  const std::vector<double> scores(200, 0.123456789);
  AddOutput("y", ElementType::kFloat64, {200}, scores);
  ASSERT_FALSE(Encode());
  const std::size_t before = chunk_.bytes.size();
  const std::int64_t size = static_cast<std::int64_t>(out_.Value().size());
  for (const std::int64_t limit : {size, size - 1, std::int64_t{100}}) {
    CodecLimits limits;
    limits.max_result_bytes = limit;
    ResultEncoder encoder(limits);
    encoder.BeginBatch(kModel, outputs_, 64, kNow);
    OutputChunk chunk;
    const auto failure = encoder.EncodeRow(request_, {"requests", 5, &source_.record()}, 0,
                                           Micros(1500), chunk, &out_);
    EXPECT_EQ(failure.has_value(), limit < size) << limit;
    EXPECT_EQ(chunk.bytes.size(), limit < size ? 0 : before);
    if (failure) {
      EXPECT_EQ(failure->reason, FailureReason::kOutputTooLarge);
    }
  }
}

TEST_F(ResultEncoderTest, KeepsEarlierRowsWhenTheChunkGrows) {
  const std::vector<float> scores(3000, 0.25F);
  AddOutput("y", ElementType::kFloat32, {1}, scores);
  std::vector<OutputRecord> records;
  for (std::size_t row = 0; row < scores.size(); ++row) {
    ASSERT_FALSE(Encode(row));
    records.push_back(out_);
  }
  for (const OutputRecord& record : records) {
    ASSERT_EQ(record.Key(), "r-1");
    ASSERT_EQ(record.Value(), records.back().Value());
    ASSERT_TRUE(record.Headers().Valid());
  }
}

TEST_F(ResultEncoderTest, CarriesNothingFromOneBatchToTheNext) {
  const std::vector<float> scores = {1};
  AddOutput("y", ElementType::kFloat32, {1}, scores);
  ASSERT_FALSE(Encode());
  const std::string value = Value();
  const auto headers = HeaderTexts(out_);
  ASSERT_FALSE(Encode());
  EXPECT_EQ(Value(), value);
  EXPECT_EQ(HeaderTexts(out_), headers);
}

class DeadLetterTest : public testing::Test {
 protected:
  void Encode(const Record& record) {
    EncodeDeadLetter({"requests", 5, &record}, failure_, context_, chunk_, &out_);
    EXPECT_TRUE(out_.Headers().Valid());
  }
  std::string Find(std::string_view name) const {
    return std::string(out_.Headers().Find(name).value_or("<none>"));
  }
  std::size_t Count(std::string_view name) const {
    std::size_t count = 0;
    for (const Header& header : out_.Headers()) count += header.name == name ? 1 : 0;
    return count;
  }

  Failure failure_{FailureReason::kInvalidShape, "too\nshort"};
  DeadLetterContext context_{.consumer_group = "millrace",
                             .model_id = "m",
                             .model_version = "3",
                             .tenant_id = "acme",
                             .attempts = 2,
                             .now = kNow};
  OutputChunk chunk_;
  OutputRecord out_;
};

TEST_F(DeadLetterTest, CarriesTheOriginalAndTheContractsHeaders) {
  TestRequest source("broken \xFF bytes", {{"traceparent", "00-ab"}, {"model_id", "old"}});
  source.Key("acme|m");
  Encode(source.record());
  EXPECT_EQ(out_.Value(), "broken \xFF bytes");
  EXPECT_EQ(out_.Key(), "acme");
  EXPECT_EQ(out_.topic, OutputTopic::kDeadLetters);
  EXPECT_EQ(out_.timestamp, kNow);
  for (const auto& [name, text] : std::vector<std::pair<std::string_view, std::string_view>>{
           {"traceparent", "00-ab"},
           {"original_topic", "requests"},
           {"original_partition", "5"},
           {"original_offset", "42"},
           {"original_timestamp", "1000000"},
           {"original_key", "acme|m"},
           {"reason", "invalid_shape"},
           {"detail", "too?short"},
           {"failed_at", "2026-11-21T07:15:27.123Z"},
           {"attempts", "2"},
           {"model_id", "m"},
           {"model_version", "3"},
           {"tenant_id", "acme"},
           {"consumer_group", "millrace"},
           {"__connect.errors.topic", "requests"},
           {"__connect.errors.partition", "5"},
           {"__connect.errors.offset", "42"},
           {"__connect.errors.connector.name", "millrace"},
           {"__connect.errors.stage", "VALUE_CONVERTER"},
           {"__connect.errors.exception.class.name", "invalid_shape"},
           {"__connect.errors.exception.message", "too?short"},
           {"original_value_null", "<none>"},
       }) {
    EXPECT_EQ(Find(name), text) << name;
    EXPECT_EQ(Count(name), text == "<none>" ? 0U : 1U) << name;
  }
}

TEST_F(DeadLetterTest, ReplacesWhatAnEarlierFailureSaid) {
  TestRequest source("v", {{"replay_id", "p1"}, {"trace", "t"}});
  source.Key("acme|m");
  Encode(source.record());
  const std::size_t first = HeaderTexts(out_).size();

  TestRequest again("v", {});
  ByteBuffer headers;
  headers.Append(out_.Headers().block());
  AppendHeader("original_value_null", "true", headers);
  AppendHeader("__connect.errors.exception.stacktrace", "at", headers);
  again.record().headers = HeadersView(headers.view());
  again.record().offset = Offset(77);
  again.Key("acme|m");
  failure_ = {FailureReason::kExpired, "late"};
  Encode(again.record());
  EXPECT_EQ(HeaderTexts(out_).size(), first);
  EXPECT_EQ(Find("reason"), "expired");
  EXPECT_EQ(Find("original_offset"), "77");
  EXPECT_EQ(Find("replay_id"), "p1");
  EXPECT_EQ(Find("trace"), "t");
}

TEST_F(DeadLetterTest, FallsBackOnTheOriginalWhereNothingIsKnown) {
  context_.tenant_id = "";
  context_.model_id = "";
  context_.model_version = "";
  TestRequest source("", {{"model_id", "a/b"}, {"tenant_id", "\xFF"}, {"model_version", "1"}});
  source.record().has_value = false;
  source.Key("some key");
  Encode(source.record());
  EXPECT_EQ(out_.Key(), "some key");
  EXPECT_EQ(out_.Value(), "");
  EXPECT_EQ(Find("original_value_null"), "true");
  EXPECT_EQ(Find("model_id"), "a/b");
  EXPECT_EQ(Find("tenant_id"), "\xFF");
  EXPECT_EQ(Count("model_version"), 0U);

  TestRequest keyless("v", {});
  Encode(keyless.record());
  EXPECT_EQ(out_.Key(), "");
  EXPECT_EQ(Count("original_key"), 1U);
  EXPECT_EQ(Find("original_key"), "<none>");
}

TEST_F(DeadLetterTest, CutsALongDetailBetweenCharacters) {
  TestRequest source("v");
  for (std::size_t shift = 0; shift < 3; ++shift) {
    failure_.detail = std::string(shift, 'x');
    for (int i = 0; i < 1000; ++i) failure_.detail += "\u20AC";
    Encode(source.record());
    const std::string detail = Find("detail");
    EXPECT_LE(detail.size(), kMaxFailureDetailBytes);
    EXPECT_GT(detail.size(), kMaxFailureDetailBytes - 4);
    EXPECT_EQ((detail.size() - shift - 3) % 3, 0U);
    EXPECT_TRUE(detail.ends_with("..."));
  }
}

}  // namespace
}  // namespace millrace
