#include "codec/replayed_record.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "codec/outcome_encoder.h"
#include "codec/test_request_internal.h"

namespace millrace {
namespace {

constexpr WallMillis kNow = 1'763'709'327'123;
using Pairs = std::vector<std::pair<std::string, std::string>>;

Pairs PairsOf(HeadersView headers) {
  Pairs pairs;
  for (const Header& header : headers) {
    pairs.emplace_back(header.name, header.is_null ? "(null)" : std::string(header.value));
  }
  return pairs;
}

class ReplayedRecordTest : public testing::Test {
 protected:
  // The dead letter of `request`, as a worker writes it and a reader gives it back.
  Record Fail(const Record& request, std::string_view model, std::string_view tenant) {
    OutputRecord out;
    EncodeDeadLetter({"requests", 5, &request}, {FailureReason::kInvalidShape, "too short"},
                     {.consumer_group = "g",
                      .model_id = model,
                      .model_version = "3",
                      .tenant_id = tenant,
                      .attempts = 1,
                      .now = kNow},
                     letters_, &out);
    Record letter;
    letter.key = out.Key();
    letter.value = out.Value();
    letter.headers = out.Headers();
    letter.has_key = letter.has_value = true;
    return letter;
  }

  Record Replay(const Record& letter, RequestFields fields) {
    EncodeReplayed(letter, fields, "ab12", kNow + 1, replays_, &out_);
    Record request;
    request.key = out_.Key();
    request.value = out_.Value();
    request.headers = out_.Headers();
    request.has_key = request.has_value = true;
    EXPECT_TRUE(request.headers.Valid());
    return request;
  }

  OutputChunk letters_, replays_;
  OutputRecord out_;
};

TEST_F(ReplayedRecordTest, BringsBackBytesKeyAndHeadersAsTheyWere) {
  TestRequest source("broken \xFF bytes", {{"traceparent", "00-ab"}, {"model_id", "m"}, {"x", ""}});
  source.Key("acme|m");
  const Record request = Replay(Fail(source.record(), "m", "acme"), {});
  EXPECT_EQ(request.value, "broken \xFF bytes");
  EXPECT_EQ(request.key, "acme|m");
  EXPECT_EQ(out_.timestamp, kNow + 1);
  EXPECT_EQ(out_.topic, OutputTopic::kResults);
  EXPECT_EQ(PairsOf(request.headers), (Pairs{{"traceparent", "00-ab"},
                                             {"model_id", "m"},
                                             {"x", ""},
                                             {"replay_id", "ab12"},
                                             {"attempts", "1"}}));
}

TEST_F(ReplayedRecordTest, PassesOnWhatOnlyTheDeadLetterKnows) {
  TestRequest source("{}", {});
  source.Key("key");
  const Record letter = Fail(source.record(), "m", "acme");
  const Pairs both = {
      {"model_id", "m"}, {"tenant_id", "acme"}, {"replay_id", "ab12"}, {"attempts", "1"}};
  EXPECT_EQ(PairsOf(Replay(letter, {}).headers), both);
  EXPECT_EQ(PairsOf(Replay(letter, {"r", "acme", "m"}).headers),
            (Pairs{{"replay_id", "ab12"}, {"attempts", "1"}}));
}

TEST_F(ReplayedRecordTest, CountsAttemptsFromFailureToFailure) {
  TestRequest source("{}", {{"h", "1"}});
  source.Key("acme|m");
  Record letter = Fail(source.record(), "m", "acme");
  for (int failures = 1; failures <= 4; ++failures) {
    EXPECT_EQ(EarlierAttempts(letter.headers), failures);
    EXPECT_EQ(letter.headers.Find("attempts"), std::to_string(failures));
    const Record request = Replay(letter, {"r", "acme", "m"});
    EXPECT_EQ(request.headers.Find("attempts"), std::to_string(failures));
    EXPECT_EQ(PairsOf(request.headers).size(), 3U);
    letter = Fail(request, "m", "acme");
    EXPECT_EQ(letter.headers.Find("replay_id"), "ab12");
  }
  EXPECT_EQ(letter.headers.Find("h"), "1");
}

TEST_F(ReplayedRecordTest, BelievesNoAttemptsOfAProducer) {
  const auto attempts =
      [](const std::vector<std::pair<std::string_view, std::string_view>>& pairs) {
        ByteBuffer block;
        for (const auto& [name, value] : pairs) AppendHeader(name, value, block);
        return EarlierAttempts(HeadersView(block.view()));
      };
  EXPECT_EQ(attempts({{"attempts", "7"}}), 0);
  EXPECT_EQ(attempts({{"attempts", "7"}, {"replay_id", "x"}}), 7);
  EXPECT_EQ(attempts({{"attempts", "7"}, {"original_topic", "t"}}), 7);
  EXPECT_EQ(attempts({{"attempts", "-7"}, {"replay_id", "x"}}), 0);
  EXPECT_EQ(attempts({{"attempts", "7x"}, {"replay_id", "x"}}), 0);
  EXPECT_EQ(attempts({{"attempts", "2000000000"}, {"replay_id", "x"}}), kMaxAttempts);
  EXPECT_EQ(attempts({{"attempts", "99999999999"}, {"replay_id", "x"}}), 0);
}

TEST_F(ReplayedRecordTest, KeepsARequestWithoutAKeyWithoutOne) {
  TestRequest source("{}");
  const Record request = Replay(Fail(source.record(), "", "acme"), {});
  EXPECT_EQ(request.key, "");
}

TEST_F(ReplayedRecordTest, RefusesWhatIsNotTheOriginal) {
  TestRequest source("{}");
  EXPECT_EQ(ObstacleOf(Fail(source.record(), "m", "t")), ReplayObstacle::kNone);
  source.record().has_value = false;
  EXPECT_EQ(ObstacleOf(Fail(source.record(), "m", "t")), ReplayObstacle::kNoValue);
  ByteBuffer block;
  AppendHeader("original_value_bytes", "70000", block);
  Record cut;
  cut.has_value = true;
  cut.headers = HeadersView(block.view());
  EXPECT_EQ(ObstacleOf(cut), ReplayObstacle::kCut);
}

TEST_F(ReplayedRecordTest, ParksALetterAsItIsAndReplaysItFromThere) {
  TestRequest source("{}", {{"h", "1"}});
  source.Key("acme|m");
  const Record letter = Fail(source.record(), "m", "acme");
  EncodeParked(letter, "dlq:1:7", kNow, replays_, &out_);
  EXPECT_EQ(out_.Key(), letter.key);
  EXPECT_EQ(out_.Value(), letter.value);
  Pairs expected = PairsOf(letter.headers);
  expected.emplace_back("parked_from", "dlq:1:7");
  expected.emplace_back("parked_at", "2025-11-21T07:15:27.123Z");
  EXPECT_EQ(PairsOf(out_.Headers()), expected);
  Record parked = letter;
  ByteBuffer copy;
  copy.Append(out_.Headers().block());
  parked.headers = HeadersView(copy.view());
  EXPECT_EQ(PairsOf(Replay(parked, {"r", "acme", "m"}).headers),
            (Pairs{{"h", "1"}, {"replay_id", "ab12"}, {"attempts", "1"}}));
}

}  // namespace
}  // namespace millrace
