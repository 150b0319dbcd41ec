#include "codec/request_builder.h"

#include <gtest/gtest.h>

#include <set>

namespace millrace {
namespace {

constexpr WallMillis kNow = 1'700'000'000'123;  // 2023-11-14T22:13:20.123Z

struct Made {
  std::string error, key, value, headers;
  bool has_key = false;
};

class RequestBuilderTest : public ::testing::Test {
 protected:
  Made Take(const std::optional<std::string>& error, const BuiltRequest& built) {
    if (error) return {.error = *error, .key = {}, .value = {}, .headers = {}};
    const auto text = [&](ByteSpan span) { return std::string(out_.view(span.at, span.size)); };
    return {.error = {},
            .key = text(built.key),
            .value = text(built.value),
            .headers = text(built.headers),
            .has_key = built.has_key};
  }
  Made Json(std::string_view line) {
    ByteBuffer padded;
    padded.Append(line);
    padded.Claim(kReadablePadding);
    BuiltRequest built;
    const auto error = builder_.FromJson(padded.view(), kNow, out_, &built);
    return Take(error, built);
  }
  Made Csv(std::string_view header, std::string_view row) {
    std::string error;
    const auto columns = CsvColumns::Parse(header, &error);
    EXPECT_TRUE(columns.has_value()) << error;
    BuiltRequest built;
    const auto why = builder_.FromCsv(*columns, row, kNow, out_, &built);
    return Take(why, built);
  }
  std::string ModelHeader(const Made& made) {
    return std::string(HeadersView(made.headers).Find("model_id").value_or("(none)"));
  }

  CodecLimits limits_;
  RequestBuilder builder_{limits_, {.tenant_id = "acme", .model_id = "m", .id_prefix = "x-"}, 7};
  ByteBuffer out_;
};

TEST_F(RequestBuilderTest, KeepsAFullRequestByteByByte) {
  const char* line =
      R"({"request_id":"r1","tenant_id":"t","model_id":"n","input":[1.50, 2e0],)"
      R"("enqueued_at":"2024-01-01T00:00:00Z"})";
  const Made made = Json(line);
  EXPECT_EQ(made.error, "");
  EXPECT_EQ(made.value, line);
  EXPECT_EQ(made.key, "t|n");
  EXPECT_EQ(ModelHeader(made), "n");
}

TEST_F(RequestBuilderTest, FillsInWhatALineLacks) {
  const Made made = Json(" {\"input\":[1.50]} \r");
  EXPECT_EQ(made.error, "");
  EXPECT_EQ(made.key, "acme|m");
  EXPECT_EQ(ModelHeader(made), "m");
  const std::string front = R"({"request_id":"x-)";
  ASSERT_TRUE(made.value.starts_with(front)) << made.value;
  EXPECT_EQ(made.value.substr(front.size() + 26),
            R"(","tenant_id":"acme","model_id":"m","enqueued_at":"2023-11-14T22:13:20.123Z",)"
            R"("input":[1.50]})");
}

TEST_F(RequestBuilderTest, AddsATimeoutOnlyWhereNoneIsGiven) {
  RequestBuilder builder(limits_, {"t", "m", "", 250}, 1);
  const auto value = [&](std::string_view line) {
    ByteBuffer padded;
    padded.Append(line);
    padded.Claim(kReadablePadding);
    BuiltRequest built;
    EXPECT_FALSE(builder.FromJson(padded.view(), kNow, out_, &built));
    return std::string(out_.view(built.value.at, built.value.size));
  };
  EXPECT_NE(value(R"({"input":[1]})").find(R"("timeout_ms":250)"), std::string::npos);
  EXPECT_EQ(value(R"({"input":[1],"timeout_ms":9})").find("250"), std::string::npos);
}

TEST_F(RequestBuilderTest, RefusesWhatNoWorkerWouldTakeAndSaysWhy) {
  const std::pair<std::string, const char*> cases[] = {
      {"", "not JSON"},
      {"hello", "not JSON"},
      {"[1]", "not a JSON object"},
      {R"({"input":[1]} x)", "not JSON"},
      {R"({"input":[NaN]})", "not JSON"},
      {R"({"input":[1],"model_id":"\xff"})", "not JSON"},
      {"{}", "neither input nor inputs"},
      {R"({"input":[1],"inputs":{}})", "both"},
      {R"({"input":[1],"input":[1]})", "twice"},
      {R"({"input":[1],"request_id":5})", "request_id is not a string"},
      {R"({"input":[1],"request_id":""})", "request_id is empty"},
      {R"({"input":[1],"tenant_id":null})", "tenant_id is null"},
      {R"({"input":[1],"tenant_id":"a\u0001"})", "control"},
      {R"({"input":[1],"model_id":"../etc"})", "does not match"},
      {R"({"input":[1],"request_id":")" + std::string(257, 'a') + R"("})", "limits.max_id_bytes"},
      {R"({"input":[1],"metadata":{"a":")" + std::string(1 << 20, 'a') + R"("}})",
       "limits.max_request_bytes"},
      {R"({"input":)" + std::string(32, '[') + "1" + std::string(32, ']') + "}", "nested"},
  };
  for (const auto& [line, why] : cases) {
    const std::size_t before = out_.size();
    EXPECT_NE(Json(line).error.find(why), std::string::npos)
        << line.substr(0, 60) << ": " << Json(line).error;
    EXPECT_EQ(out_.size(), before);
  }
}

TEST_F(RequestBuilderTest, AllowsTheNestingThatAWorkerAllows) {
  EXPECT_EQ(Json(R"({"input":)" + std::string(31, '[') + "1" + std::string(31, ']') + "}").error,
            "");
}

TEST_F(RequestBuilderTest, AsksForATenantAndAModelWhenThereIsNoDefault) {
  RequestBuilder builder(limits_, {}, 1);
  ByteBuffer padded;
  padded.Append(R"({"input":[1],"model_id":"m"})");
  padded.Claim(kReadablePadding);
  BuiltRequest built;
  EXPECT_NE(builder.FromJson(padded.view(), kNow, out_, &built)->find("tenant_id"),
            std::string::npos);
}

TEST_F(RequestBuilderTest, MakesIdsThatAreUniqueAndSortByTime) {
  RequestIds ids("p", 0xABCDEF), other("p", 0xABCDF0);
  std::set<std::string> seen;
  std::string last;
  for (int i = 0; i < 10'000; ++i) {
    const std::string id(ids.Next(kNow + i / 100));
    EXPECT_GT(id, last);
    last = id;
    EXPECT_TRUE(seen.insert(id).second);
    EXPECT_TRUE(seen.insert(std::string(other.Next(kNow + i / 100))).second);
  }
}

TEST_F(RequestBuilderTest, MakesARequestOfACsvRow) {
  const Made made = Csv("request_id,label,a,tenant_id,b,model_id", "r1,malignant, 1.50,t,+2,n");
  EXPECT_EQ(made.error, "");
  EXPECT_EQ(made.key, "t|n");
  EXPECT_EQ(made.value,
            R"({"enqueued_at":"2023-11-14T22:13:20.123Z","request_id":"r1","tenant_id":"t",)"
            R"("model_id":"n","input":[1.50,2],"metadata":{"label":"malignant"}})");
}

TEST_F(RequestBuilderTest, FillsInWhatACsvRowLacks) {
  const Made made = Csv("tenant_id,f0", ",7");
  EXPECT_EQ(made.error, "");
  EXPECT_EQ(made.key, "acme|m");
  EXPECT_NE(made.value.find(R"("tenant_id":"acme")"), std::string::npos);
  EXPECT_NE(made.value.find(R"("input":[7]})"), std::string::npos);
}

TEST_F(RequestBuilderTest, SaysWhichCsvFieldIsWrong) {
  EXPECT_NE(Csv("a,b", "1,x").error.find("column b: 'x' is not a number"), std::string::npos);
  EXPECT_NE(Csv("a,b", "1,").error.find("column b"), std::string::npos);
  EXPECT_NE(Csv("a,b", "1,nan").error.find("column b"), std::string::npos);
  EXPECT_NE(Csv("a,b", "1").error.find("1 fields, the header row has 2"), std::string::npos);
  EXPECT_NE(Csv("a,b", "1,\"2").error.find("not closed"), std::string::npos);
}

TEST_F(RequestBuilderTest, RefusesAHeaderRowWithoutInputOrWithARoleTwice) {
  std::string error;
  EXPECT_FALSE(CsvColumns::Parse("request_id,label", &error));
  EXPECT_NE(error.find("no input column"), std::string::npos);
  EXPECT_FALSE(CsvColumns::Parse("label,label,x", &error));
  EXPECT_NE(error.find("twice"), std::string::npos);
}

TEST_F(RequestBuilderTest, SplitsQuotedCsvFields) {
  std::vector<std::string> fields;
  std::string error;
  ASSERT_TRUE(SplitCsvRow(R"("a,b","c""d",,e,)", &fields, &error)) << error;
  EXPECT_EQ(fields, (std::vector<std::string>{"a,b", "c\"d", "", "e", ""}));
  EXPECT_FALSE(SplitCsvRow(R"("a"b,c)", &fields, &error));
}

TEST_F(RequestBuilderTest, PublishesARawLineAsItIs) {
  const auto raw = [&](std::string_view line) {
    ByteBuffer padded;
    padded.Append(line);
    padded.Claim(kReadablePadding);
    BuiltRequest built;
    builder_.FromRaw(padded.view(), out_, &built);
    return Take(std::nullopt, built);
  };
  const Made keyed = raw(R"({"tenant_id":"t","model_id":"n","input":"x"})");
  EXPECT_EQ(keyed.value, R"({"tenant_id":"t","model_id":"n","input":"x"})");
  EXPECT_EQ(keyed.key, "t|n");
  EXPECT_EQ(ModelHeader(keyed), "n");
  EXPECT_EQ(raw("not json").value, "not json");
  EXPECT_EQ(raw("not json").key, "acme|m");

  RequestBuilder without(limits_, {}, 1);
  ByteBuffer padded;
  padded.Append("not json");
  padded.Claim(kReadablePadding);
  BuiltRequest built;
  without.FromRaw(padded.view(), out_, &built);
  EXPECT_FALSE(built.has_key);
  EXPECT_EQ(built.headers.size, 0u);
}

}  // namespace
}  // namespace millrace
