#include "codec/record_reader.h"

#include <gtest/gtest.h>

#include "base/byte_buffer.h"

namespace millrace {
namespace {

// A value with the readable bytes behind it that a RecordBatch would have.
class Padded {
 public:
  explicit Padded(std::string_view text) {
    bytes_.Append(text);
    bytes_.Claim(kReadablePadding);
  }
  std::string_view view() const { return bytes_.view(); }

 private:
  ByteBuffer bytes_;
};

TEST(RecordReader, ReadsRequestFieldsInAnyOrder) {
  const Padded value(
      R"({"input":[1,2,{"tenant_id":"inner"}],"model_id":"m","request_id":"a\"b",)"
      R"("tenant_id":"t"})");
  RecordReader reader;
  RequestFields fields;
  EXPECT_TRUE(reader.ReadRequest(value.view(), &fields));
  EXPECT_EQ(fields.request_id, "a\"b");
  EXPECT_EQ(fields.tenant_id, "t");
  EXPECT_EQ(fields.model_id, "m");
}

TEST(RecordReader, LeavesFieldsOfAnotherTypeEmpty) {
  const Padded value(R"({"request_id":7,"tenant_id":null,"model_id":["m"]})");
  RecordReader reader;
  RequestFields fields;
  EXPECT_TRUE(reader.ReadRequest(value.view(), &fields));
  EXPECT_EQ(fields.request_id, "");
  EXPECT_EQ(fields.tenant_id, "");
  EXPECT_EQ(fields.model_id, "");
}

TEST(RecordReader, KeepsWhatItFoundBeforeTheDamage) {
  const Padded value(R"({"request_id":"r","tenant_id":"t","inp)");
  RecordReader reader;
  RequestFields fields;
  EXPECT_FALSE(reader.ReadRequest(value.view(), &fields));
}

TEST(RecordReader, SaysNoToWhatIsNoObject) {
  RecordReader reader;
  RequestFields fields;
  for (const char* text : {"", " ", "[1]", "\"x\"", "nul", "{", "\xFF\xFE{}"}) {
    const Padded value(text);
    EXPECT_FALSE(reader.ReadRequest(value.view(), &fields)) << text;
  }
}

TEST(RecordReader, ReadsAResult) {
  const Padded value(
      R"({"request_id":"r","tenant_id":"t","model_id":"m","model_version":"2","status":"ok",)"
      R"("output":[0.5, 1],"latency_ms":1.25,"batch_size":64,)"
      R"("inferred_at":"2026-11-21T07:15:27.123Z"})");
  RecordReader reader;
  ResultFields fields;
  ASSERT_TRUE(reader.ReadResult(value.view(), &fields));
  EXPECT_EQ(fields.request_id, "r");
  EXPECT_EQ(fields.model_version, "2");
  EXPECT_EQ(fields.status, "ok");
  EXPECT_EQ(fields.output, "[0.5, 1]");
  EXPECT_DOUBLE_EQ(fields.latency_ms, 1.25);
  EXPECT_EQ(fields.batch_size, 64);
  EXPECT_EQ(fields.inferred_at, "2026-11-21T07:15:27.123Z");
}

TEST(RecordReader, ReadsNamedOutputs) {
  const Padded value(R"({"request_id":"r","outputs":{"a":[1],"b":[[2]]},"status":"ok"})");
  RecordReader reader;
  ResultFields fields;
  ASSERT_TRUE(reader.ReadResult(value.view(), &fields));
  EXPECT_EQ(fields.output, R"({"a":[1],"b":[[2]]})");
  EXPECT_EQ(fields.status, "ok");
}

}  // namespace
}  // namespace millrace
