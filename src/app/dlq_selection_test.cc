#include "app/dlq_selection.h"

#include <gtest/gtest.h>

#include <limits>

#include "app/dlq_counts.h"
#include "app/dlq_plan.h"

namespace millrace {
namespace {

constexpr WallMillis kNow = 1'763'709'327'123;  // 2025-11-21T07:15:27.123Z

class DlqSelectionTest : public testing::Test {
 protected:
  SelectionAnswer Ask(const SelectionFlags& flags) {
    const auto selection = DlqSelection::Parse(flags, kNow);
    EXPECT_TRUE(selection.ok()) << selection.status().ToString();
    block_.Clear();
    for (const auto& [name, value] : headers_) AppendHeader(name, value, block_);
    value_.Clear();
    value_.Append(R"({"request_id":"r-1","model_id":"m"})");
    value_.Claim(kReadablePadding);
    Record record;
    record.headers = HeadersView(block_.view());
    record.value = value_.view();
    record.has_value = true;
    record.offset = Offset(17);
    record.timestamp = kNow;
    return selection->Answer(ReadDeadLetter(record), record, 3, reader_);
  }
  bool Yes(const SelectionFlags& flags) { return Ask(flags) == SelectionAnswer::kYes; }
  static SelectionFlags With(std::string SelectionFlags::*field, const char* value) {
    SelectionFlags flags;
    flags.*field = value;
    return flags;
  }
  static SelectionFlags With(std::vector<std::string> SelectionFlags::*field,
                             std::vector<std::string> value) {
    SelectionFlags flags;
    flags.*field = std::move(value);
    return flags;
  }

  std::vector<std::pair<std::string, std::string>> headers_ = {
      {"original_topic", "in"},
      {"original_partition", "5"},
      {"original_offset", "42"},
      {"reason", "decode"},
      {"failed_at", "2025-11-21T06:15:27.123Z"},
      {"attempts", "2"},
      {"model_id", "m"},
      {"tenant_id", "acme"}};
  ByteBuffer block_, value_;
  RecordReader reader_;
};

TEST_F(DlqSelectionTest, MeansAllWithoutFlags) { EXPECT_TRUE(Yes({})); }

TEST_F(DlqSelectionTest, TakesAnyOfTheWordsOfAFlagAndAllFlags) {
  using F = SelectionFlags;
  EXPECT_TRUE(Yes(With(&F::reasons, {"expired", "decode"})));
  EXPECT_FALSE(Yes(With(&F::reasons, {"expired"})));
  EXPECT_TRUE(Yes(With(&F::models, {"x", "m"})));
  EXPECT_FALSE(Yes(With(&F::tenants, {"x"})));
  EXPECT_TRUE(Yes(With(&F::original_topics, {"in"})));
  EXPECT_FALSE(Yes(With(&F::original_topics, {"out"})));
  SelectionFlags both = With(&F::models, {"m"});
  both.tenants = {"x"};
  EXPECT_FALSE(Yes(both));
}

TEST_F(DlqSelectionTest, KnowsPlaces) {
  using F = SelectionFlags;
  EXPECT_TRUE(Yes(With(&F::partition, "3")));
  EXPECT_FALSE(Yes(With(&F::partition, "4")));
  EXPECT_TRUE(Yes(With(&F::offset, "17")));
  EXPECT_TRUE(Yes(With(&F::offset, "10-17")));
  EXPECT_TRUE(Yes(With(&F::offset, "17-")));
  EXPECT_FALSE(Yes(With(&F::offset, "18-")));
  EXPECT_TRUE(Yes(With(&F::original_partition, "5")));
  EXPECT_FALSE(Yes(With(&F::original_partition, "0-4")));
  EXPECT_TRUE(Yes(With(&F::original_offset, "42")));
  EXPECT_FALSE(Yes(With(&F::original_offset, "43")));
}

TEST_F(DlqSelectionTest, FindsARequestByItsHeaderElseByItsValue) {
  using F = SelectionFlags;
  EXPECT_TRUE(Yes(With(&F::request_ids, {"r-1"})));
  EXPECT_FALSE(Yes(With(&F::request_ids, {"r-2"})));
  headers_.emplace_back("request_id", "r-2");
  EXPECT_FALSE(Yes(With(&F::request_ids, {"r-1"})));
  EXPECT_TRUE(Yes(With(&F::request_ids, {"r-2"})));
}

TEST_F(DlqSelectionTest, KnowsWhenItFailed) {
  using F = SelectionFlags;
  EXPECT_TRUE(Yes(With(&F::since, "1h")));
  EXPECT_FALSE(Yes(With(&F::since, "59m")));
  EXPECT_TRUE(Yes(With(&F::since, "2025-11-21T06:15:27.123Z")));
  EXPECT_TRUE(Yes(With(&F::since, "2025-11-21")));
  EXPECT_EQ(Ask(With(&F::until, "2025-11-21T06:15:27.123Z")), SelectionAnswer::kNo);
  EXPECT_EQ(Ask(With(&F::until, "1h")), SelectionAnswer::kNotYet);
  EXPECT_TRUE(Yes(With(&F::until, "59m")));
  EXPECT_TRUE(Yes(With(&F::until, "2025-11-21T07:15:28+01:00")) ==
              Yes(With(&F::until, "2025-11-21T06:15:28Z")));
  headers_[4].second = "long ago";  // Then the record's own time counts.
  EXPECT_TRUE(Yes(With(&F::since, "1s")));
}

TEST_F(DlqSelectionTest, CountsAttempts) {
  SelectionFlags flags;
  flags.min_attempts = 2;
  EXPECT_TRUE(Yes(flags));
  flags.min_attempts = 3;
  EXPECT_FALSE(Yes(flags));
}

TEST_F(DlqSelectionTest, SaysTheSameForTheSame) {
  const auto canonical = [](const SelectionFlags& flags, WallMillis now = kNow) {
    return DlqSelection::Parse(flags, now)->Canonical(nullptr);
  };
  SelectionFlags a, b;
  a.reasons = {"decode", "expired", "decode"};
  b.reasons = {"expired", "decode"};
  a.offset = "7";
  b.offset = "7-7";
  a.since = b.since = "2h";
  EXPECT_EQ(canonical(a), canonical(b));
  EXPECT_EQ(canonical(a), canonical(b, kNow + 5000)) << "a relative time stays relative";
  b.tenants = {"acme"};
  EXPECT_NE(canonical(a), canonical(b));
  SelectionFlags together, apart;
  together.models = {"a,b"};
  apart.models = {"a", "b"};
  EXPECT_NE(canonical(together), canonical(apart));
  const std::string topic = "in";
  SelectionFlags named;
  named.original_topics = {"in"};
  EXPECT_EQ(DlqSelection::Parse({}, kNow)->Canonical(&topic), canonical(named));
}

TEST(ParseRange, TakesNumbersAndRangesOnly) {
  EXPECT_EQ(ParseRange("17")->last, 17);
  EXPECT_EQ(ParseRange("17-20")->last, 20);
  EXPECT_EQ(ParseRange("17-")->last, std::numeric_limits<std::int64_t>::max());
  for (const char* text :
       {"", "-", "-3", "x", "7-3", "3-x", "3 ", "3--4", "99999999999999999999"}) {
    EXPECT_FALSE(ParseRange(text).has_value()) << text;
  }
}

TEST(ParseTime, TakesTimesDaysAndHowLongAgo) {
  bool relative = false;
  EXPECT_EQ(*ParseTime("2h", kNow, &relative), kNow - 7'200'000);
  EXPECT_TRUE(relative);
  EXPECT_EQ(*ParseTime("2025-11-21T07:15:27.123Z", kNow, &relative), kNow);
  EXPECT_FALSE(relative);
  EXPECT_EQ(*ParseTime("2025-11-21", kNow, &relative), kNow - 26'127'123);
  for (const char* text : {"", "2", "h", "-2h", "yesterday", "2025-11-21T07", "2025-13-21"}) {
    EXPECT_FALSE(ParseTime(text, kNow, &relative).ok()) << text;
  }
}

TEST(DlqCounts, DrawsSharesAsBars) {
  EXPECT_EQ(Bar(0, 10, 4), "");
  EXPECT_EQ(Bar(10, 10, 2), "\u2588\u2588");
  EXPECT_EQ(Bar(5, 10, 2), "\u2588");
  EXPECT_EQ(Bar(1, 1'000'000, 2), "\u258F") << "what is there shows";
  EXPECT_EQ(Bar(20, 10, 2), Bar(10, 10, 2));
}

TEST(DlqCounts, ShowsTheLargestAndSumsUpTheRest) {
  DlqCounts counts;
  for (int i = 0; i < 30; ++i) {
    DeadLetter letter;
    const std::string tenant = "t" + std::to_string(i);
    letter.tenant_id = tenant;
    for (int j = 0; j <= i; ++j) counts.Add(letter);
  }
  const std::string table = counts.Table("tenant", true);
  EXPECT_NE(table.find("t29"), std::string::npos);
  EXPECT_NE(table.find("(11 others)"), std::string::npos) << table;
  EXPECT_EQ(table.find("t10 "), std::string::npos);
}

TEST(StableHash, IsTheSameOnEveryMachine) {
  EXPECT_EQ(StableHash(""), "cbf29ce484222325");
  EXPECT_EQ(StableHash("a"), "af63dc4c8601ec8c");
}

TEST(IndentedJson, HasALineForEachMember) {
  EXPECT_EQ(
      IndentedJson(R"({"a": [1, 2, {"b":"x,{\"y"}],"e":{} ,"c":true})"),
      "{\n  \"a\": [1, 2, {\n      \"b\": \"x,{\\\"y\"\n    }],\n  \"e\": {},\n  \"c\": true\n}");
}

}  // namespace
}  // namespace millrace
