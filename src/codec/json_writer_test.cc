#include "codec/json_writer.h"

#include <gtest/gtest.h>

#include <limits>

namespace millrace {
namespace {

TEST(JsonWriter, PutsCommasWhereTheyBelong) {
  std::string out;
  JsonWriter json(out);
  json.BeginObject().Member("a", 1).Key("b").BeginArray();
  json.Value(true).Null().BeginObject().EndObject().Value(0.1).EndArray();
  json.Key("c").BeginArray().EndArray().Member("d", "x").Member("e", std::int64_t{-5}).EndObject();
  EXPECT_EQ(out, R"({"a":1,"b":[true,null,{},0.1],"c":[],"d":"x","e":-5})");
}

TEST(JsonWriter, EscapesAndRepairsStrings) {
  std::string out;
  JsonWriter json(out);
  json.Value("a\"\\\n\x01\xFFz");
  EXPECT_EQ(out, "\"a\\\"\\\\\\n\\u0001\xEF\xBF\xBDz\"");
}

TEST(JsonWriter, WritesNullForWhatIsNotFinite) {
  std::string out;
  JsonWriter json(out);
  json.BeginArray().Value(std::numeric_limits<double>::infinity()).Value(2.0).EndArray();
  EXPECT_EQ(out, "[null,2]");
}

}  // namespace
}  // namespace millrace
