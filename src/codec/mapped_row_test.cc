// What an encoder makes of outputs with a mapping.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "codec/outcome_encoder.h"
#include "codec/output_mapping.h"
#include "codec/test_request_internal.h"
#include "types/float16.h"

namespace millrace {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

class MappedRowTest : public testing::Test {
 protected:
  // `declared`: what the signature says of a row; by default the truth.
  template <class T>
  void AddOutput(std::string name, ElementType type, std::vector<std::int64_t> row_shape,
                 const std::vector<T>& data,
                 std::optional<std::vector<std::int64_t>> declared = {}) {
    TensorSpec spec{std::move(name), type, {kDynamicDim}};
    const std::vector<std::int64_t>& told = declared ? *declared : row_shape;
    spec.shape.insert(spec.shape.end(), told.begin(), told.end());
    signature_.outputs.push_back(std::move(spec));
    OutputView view;
    view.data = data.data();
    view.elements_per_row = *ElementCount(row_shape);
    view.row_shape = std::move(row_shape);
    views_.push_back(view);
    for (std::size_t i = 0; i < views_.size(); ++i) views_[i].spec = &signature_.outputs[i];
  }

  // The result's outputs, and what follows them up to the latency; or "reason: detail".
  std::string Encode(std::string_view mapping, std::size_t row = 0) {
    const auto fields = ParseOutputMapping(mapping);
    EXPECT_TRUE(fields.ok()) << fields.status().ToString();
    const auto bound = BindOutputMapping(*fields, signature_, labels_, threshold_);
    EXPECT_TRUE(bound.ok()) << bound.status().ToString();
    if (!bound.ok()) return "";
    encoder_.BeginBatch({"m", "3", "00"}, views_, 64, 0, &bound.value());
    InferenceRequest request;
    request.request_id = "r";
    request.tenant_id = "t";
    const auto failure = encoder_.EncodeRow(request, {"requests", 5, &source_.record()}, row,
                                            Micros(1), chunk_, &out_);
    if (failure) return std::string(FailureReasonName(failure->reason)) + ": " + failure->detail;
    const std::string value(out_.Value());
    const std::string start = R"("status":"ok","outputs":)";
    const std::size_t from = value.find(start);
    if (from == std::string::npos) return value;
    return value.substr(from + start.size(), value.find(",\"latency_ms\"") - from - start.size());
  }

  ModelSignature signature_;
  std::vector<OutputView> views_;
  std::vector<std::string> labels_ = {"legit", "fraud"};
  std::optional<double> threshold_;
  CodecLimits limits_;
  ResultEncoder encoder_{limits_};
  TestRequest source_{"{}"};
  OutputChunk chunk_;
  OutputRecord out_;
};

TEST_F(MappedRowTest, WritesTheContractsFields) {
  const std::vector<float> p = {0.07F, 0.93F, 0.6F, 0.4F};
  AddOutput("probabilities", ElementType::kFloat32, {2}, p);
  const char* mapping =
      "fraud_probability = probabilities[fraud], is_fraud = probabilities[1] >= threshold, "
      "label = label(probabilities)";
  EXPECT_EQ(Encode(mapping), R"({"fraud_probability":0.93,"is_fraud":true,"label":"fraud"})");
  EXPECT_EQ(Encode(mapping, 1), R"({"fraud_probability":0.4,"is_fraud":false,"label":"legit"})");
  threshold_ = 0.4;
  EXPECT_EQ(Encode(mapping, 1), R"({"fraud_probability":0.4,"is_fraud":true,"label":"fraud"})");
}

TEST_F(MappedRowTest, WritesEveryForm) {
  labels_ = {"a", "b", "c"};
  const std::vector<float> s = {0.2F, 0.5F, 0.3F};
  const std::vector<std::int32_t> grid = {4, 9, 9, -3};
  const std::vector<std::int64_t> where = {2};
  const std::vector<std::string_view> word = {"say \"x\""};
  const std::vector<std::uint8_t> flags = {0, 1};
  AddOutput("s", ElementType::kFloat32, {3}, s);
  AddOutput("grid", ElementType::kInt32, {2, 2}, grid);
  AddOutput("where", ElementType::kInt64, {}, where);
  AddOutput("word", ElementType::kString, {}, word);
  AddOutput("flags", ElementType::kBool, {2}, flags);
  EXPECT_EQ(Encode("all = grid"), R"({"all":[[4,9],[9,-3]]})");
  EXPECT_EQ(Encode("one = where"), R"({"one":2})");
  EXPECT_EQ(Encode("last = grid[3], on = flags[1]"), R"({"last":-3,"on":true})");
  EXPECT_EQ(Encode("b = s[b], c = s[\"c\"]"), R"({"b":0.5,"c":0.3})");
  EXPECT_EQ(Encode("m = max(s), at = argmax(s), l = label(s)"), R"({"m":0.5,"at":1,"l":"b"})");
  EXPECT_EQ(Encode("at = argmax(grid), sure = max(grid) > 9"), R"({"at":1,"sure":false})");
  EXPECT_EQ(Encode("l = label(where), w = label(word), v = word"),
            R"({"l":"c","w":"say \"x\"","v":"say \"x\""})");
  EXPECT_EQ(Encode("t = top(s, 2)"),
            R"({"t":[{"label":"b","value":0.5},{"label":"c","value":0.3}]})");
  EXPECT_EQ(Encode("t = top(grid, 3)"),
            R"({"t":[{"index":1,"value":9},{"index":2,"value":9},{"index":0,"value":4}]})");
  EXPECT_EQ(Encode("\"a \\\"b\\\"\" = where < 3"), R"({"a \"b\"":true})");
}

TEST_F(MappedRowTest, ComparesAsItIsWritten) {
  const std::vector<float> s = {0.7F};
  const std::vector<Float16> half = {NearestFloat16(0.7)};
  const std::vector<std::int64_t> whole = {3};
  AddOutput("s", ElementType::kFloat32, {1}, s);
  AddOutput("half", ElementType::kFloat16, {1}, half);
  AddOutput("whole", ElementType::kInt64, {1}, whole);
  // The float 0.7 is below the double 0.7; nobody who reads 0.7 in the result would say so.
  EXPECT_EQ(Encode("a = s >= 0.7, b = s > 0.7, c = s <= 0.7, d = s < 0.7"),
            R"({"a":true,"b":false,"c":true,"d":false})");
  EXPECT_EQ(Encode("a = half >= 0.7, b = half > 0.7"), R"({"a":true,"b":false})");
  EXPECT_EQ(Encode("a = whole > 2.5, b = whole > 3, c = whole >= 3"),
            R"({"a":true,"b":false,"c":true})");
}

TEST_F(MappedRowTest, OneScoreIsLabelledByTheThreshold) {
  const std::vector<double> s = {0.5, 0.49};
  AddOutput("s", ElementType::kFloat64, {1}, s);
  EXPECT_EQ(Encode("l = label(s)"), R"({"l":"fraud"})");
  EXPECT_EQ(Encode("l = label(s)", 1), R"({"l":"legit"})");
}

TEST_F(MappedRowTest, OfEqualsTheFirstWins) {
  const std::vector<float> s = {0.5F, 0.5F};
  AddOutput("s", ElementType::kFloat32, {2}, s);
  EXPECT_EQ(Encode("l = label(s), at = argmax(s), t = top(s, 1)"),
            R"({"l":"legit","at":0,"t":[{"label":"legit","value":0.5}]})");
  // But where a field tells by the threshold, the label says the same.
  EXPECT_EQ(Encode("l = label(s), f = s[1] >= threshold"), R"({"l":"fraud","f":true})");
}

TEST_F(MappedRowTest, WhatCannotBeToldIsNull) {
  const std::vector<float> s = {0.5F, kNan, kInfinity, -kInfinity};
  AddOutput("s", ElementType::kFloat32, {2}, s);
  const std::string all =
      "v = s[1], f = s[1] > 0, m = max(s), at = argmax(s), l = label(s), t = top(s, 1)";
  EXPECT_EQ(Encode(all),
            R"({"v":null,"f":null,"m":null,"at":null,"l":null,"t":null},"non_finite":true)");
  EXPECT_EQ(Encode("v = s[0]"), R"({"v":0.5})");
  threshold_ = 0.1;
  EXPECT_EQ(Encode("l = label(s)"), R"({"l":null},"non_finite":true)");
  threshold_.reset();
  // Infinities have their place in the order.
  EXPECT_EQ(Encode("v = s[1], f = s[1] > 0, at = argmax(s), l = label(s), t = top(s, 1)", 1),
            R"({"v":null,"f":false,"at":0,"l":"legit","t":[{"label":"legit","value":null}]},)"
            R"("non_finite":true)");
  EXPECT_EQ(Encode("f = s[0] > 9, at = argmax(s)", 1), R"({"f":true,"at":0})");
}

TEST_F(MappedRowTest, ARowOfAnotherSizeFailsAndSaysWhy) {
  const std::vector<float> s = {0.1F, 0.2F, 0.3F};
  AddOutput("s", ElementType::kFloat32, {3}, s, {{kDynamicDim}});
  EXPECT_EQ(Encode("v = s[2]"), R"({"v":0.3})");
  EXPECT_EQ(Encode("v = s[3]"),
            "inference_error: field 'v' (s[3]) needs at least 4 elements of output 's', which has "
            "3 for this request");
  EXPECT_EQ(Encode("l = label(s)"),
            "inference_error: field 'l' (label(s)) needs exactly 2 elements of output 's', which "
            "has 3 for this request");
  labels_.clear();
  EXPECT_EQ(Encode("t = top(s, 9)").find(R"({"t":[{"index":2,"value":0.3},{"index":1,)"), 0u);
}

TEST_F(MappedRowTest, APlaceWithoutALabelFailsItsRowAlone) {
  const std::vector<std::int64_t> where = {1, 2, -1};
  AddOutput("where", ElementType::kInt64, {}, where);
  EXPECT_EQ(Encode("l = label(where)", 0), R"({"l":"fraud"})");
  EXPECT_EQ(Encode("l = label(where)", 1),
            "inference_error: field 'l' (label(where)): output 'where' is 2, the places of the 2 "
            "labels are 0 to 1");
  EXPECT_EQ(Encode("l = label(where)", 2).find("inference_error: "), 0u);
}

TEST_F(MappedRowTest, StringsAreCheckedWhereTheyAreWritten) {
  const std::vector<std::string_view> words = {"good", "\xFF"};
  const std::vector<float> s = {1};
  AddOutput("words", ElementType::kString, {2}, words);
  AddOutput("s", ElementType::kFloat32, {1}, s);
  EXPECT_EQ(Encode("w = words[0]"), R"({"w":"good"})");
  EXPECT_EQ(Encode("v = s"), R"({"v":[1]})");
  EXPECT_EQ(Encode("w = words[1]"), "inference_error: string 1 of output 'words' is not UTF-8");
  EXPECT_EQ(Encode("w = words"), "inference_error: string 1 of output 'words' is not UTF-8");
}

TEST_F(MappedRowTest, TheNextModelsOutputsAreNotMapped) {
  const std::vector<float> s = {1};
  AddOutput("s", ElementType::kFloat32, {1}, s);
  EXPECT_EQ(Encode("v = s[0]"), R"({"v":1})");
  encoder_.BeginBatch({"m", "3", "00"}, views_, 1, 0);
  InferenceRequest request;
  request.request_id = "r";
  ASSERT_FALSE(
      encoder_.EncodeRow(request, {"requests", 5, &source_.record()}, 0, Micros(1), chunk_, &out_));
  EXPECT_NE(out_.Value().find(R"("output":[1],)"), std::string_view::npos);
}

TEST_F(MappedRowTest, OnlyWhatIsWrittenCountsAgainstTheLimit) {
  const std::vector<float> s(300'000, 0.25F);
  limits_.max_result_bytes = 2'000;
  ResultEncoder encoder(limits_);
  AddOutput("s", ElementType::kFloat32, {300'000}, s);
  const auto fields = ParseOutputMapping("m = max(s), t = top(s, 2)");
  ASSERT_TRUE(fields.ok());
  const auto bound = BindOutputMapping(*fields, signature_, {}, {});
  ASSERT_TRUE(bound.ok()) << bound.status().ToString();
  InferenceRequest request;
  request.request_id = "r";
  encoder.BeginBatch({"m", "3", "00"}, views_, 1, 0, &bound.value());
  EXPECT_FALSE(
      encoder.EncodeRow(request, {"requests", 5, &source_.record()}, 0, Micros(1), chunk_, &out_));
  encoder.BeginBatch({"m", "3", "00"}, views_, 1, 0);
  const auto failure =
      encoder.EncodeRow(request, {"requests", 5, &source_.record()}, 0, Micros(1), chunk_, &out_);
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->reason, FailureReason::kOutputTooLarge);
}

unsigned Seed() {
  const char* given = std::getenv("MILLRACE_TEST_SEED");
  return given != nullptr ? static_cast<unsigned>(std::strtoul(given, nullptr, 10))
                          : std::random_device{}();
}

// top() against a sort of everything.
TEST_F(MappedRowTest, TopIsWhatASortFinds) {
  const unsigned seed = Seed();
  SCOPED_TRACE("MILLRACE_TEST_SEED=" + std::to_string(seed));
  std::mt19937_64 random(seed);
  labels_.clear();
  for (int round = 0; round < 300; ++round) {
    std::vector<std::int32_t> numbers(1 + random() % 40);
    for (std::int32_t& number : numbers) number = static_cast<std::int32_t>(random() % 9);
    signature_.outputs.clear();
    views_.clear();
    AddOutput("s", ElementType::kInt32, {static_cast<std::int64_t>(numbers.size())}, numbers);
    const std::size_t count = 1 + random() % numbers.size();
    std::vector<std::size_t> order(numbers.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return numbers[a] > numbers[b]; });
    std::string want = R"({"t":[)";
    for (std::size_t i = 0; i < count; ++i) {
      want += (i == 0 ? "" : ",") + std::string(R"({"index":)") + std::to_string(order[i]) +
              R"(,"value":)" + std::to_string(numbers[order[i]]) + "}";
    }
    ASSERT_EQ(Encode("t = top(s, " + std::to_string(count) + ")"), want + "]}");
  }
}

}  // namespace
}  // namespace millrace
