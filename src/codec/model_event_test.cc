#include "codec/model_event.h"

#include <gtest/gtest.h>

#include <random>

#include "base/byte_buffer.h"

namespace millrace {
namespace {

class ModelEventTest : public ::testing::Test {
 protected:
  Record RecordOf(std::string_view key, std::string_view value) {
    bytes_.assign(value);
    bytes_.append(kReadablePadding, '\0');
    Record record;
    record.key = key;
    record.has_key = !key.empty();
    record.value = std::string_view(bytes_).substr(0, value.size());
    record.has_value = true;
    return record;
  }
  std::string ErrorOf(std::string_view key, std::string_view value) {
    return std::string(DecodeModelEvent(RecordOf(key, value)).status().message());
  }

  std::string bytes_;
};

constexpr const char* kDigest = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

TEST_F(ModelEventTest, ReadsWhatItWrites) {
  ModelEvent event;
  event.model_id = "fraud";
  event.action = ModelAction::kCanary;
  event.version = {"7", "s3://models/fraud/7/model.onnx", kDigest};
  event.canary_percent = 12.5;
  event.stable = VersionSpec{"6", "", ""};
  event.issued_at = "2026-11-21T07:15:27.123Z";
  event.issued_by = "deploy \"bot\"";
  const auto read = DecodeModelEvent(RecordOf("fraud", EncodeModelEvent(event)));
  ASSERT_TRUE(read.ok()) << read.status().ToString();
  EXPECT_EQ(read->model_id, "fraud");
  EXPECT_EQ(read->action, ModelAction::kCanary);
  EXPECT_EQ(read->version, event.version);
  EXPECT_EQ(read->canary_percent, 12.5);
  EXPECT_EQ(read->stable, event.stable);
  EXPECT_EQ(read->issued_at, event.issued_at);
  EXPECT_EQ(read->issued_by, event.issued_by);
}

TEST_F(ModelEventTest, ReadsTheContractsFieldsAndIgnoresOthers) {
  const auto read = DecodeModelEvent(RecordOf(
      "m", R"({"model_id":"m","version":"2","action":"promote","uri":"u","sha256":null,"x":[1]})"));
  ASSERT_TRUE(read.ok()) << read.status().ToString();
  EXPECT_EQ(read->version, (VersionSpec{"2", "u", ""}));
}

TEST_F(ModelEventTest, ATombstoneRetiresTheModel) {
  Record record = RecordOf("m", "");
  record.has_value = false;
  const auto read = DecodeModelEvent(record);
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(read->model_id, "m");
  EXPECT_EQ(read->action, ModelAction::kRetire);
  EXPECT_TRUE(read->version.version.empty());
}

TEST_F(ModelEventTest, OldDeploymentsNameAPathAndNoModel) {
  const auto read = DecodeModelEvent(RecordOf("", R"({"model_path": "models/fraud_v2.onnx"})"));
  ASSERT_TRUE(read.ok());
  EXPECT_TRUE(read->model_id.empty());
  EXPECT_EQ(read->action, ModelAction::kPromote);
  EXPECT_EQ(read->version.uri, "models/fraud_v2.onnx");
}

TEST_F(ModelEventTest, SaysWhatIsWrong) {
  EXPECT_EQ(ErrorOf("m", "{"), "the value is not a JSON object");
  EXPECT_EQ(ErrorOf("m", "[]"), "the value is not a JSON object");
  EXPECT_EQ(ErrorOf("m", "{}"), "neither model_id nor model_path is given");
  EXPECT_NE(ErrorOf("n", R"({"model_id":"m","version":"1","action":"promote"})").find("the key is"),
            std::string::npos);
  EXPECT_NE(
      ErrorOf("m", R"({"model_id":"../m","version":"1","action":"promote"})").find("model_id"),
      std::string::npos);
  EXPECT_NE(ErrorOf("m", R"({"model_id":"m","version":"1","action":"launch"})").find("launch"),
            std::string::npos);
  EXPECT_EQ(ErrorOf("m", R"({"model_id":"m","action":"promote"})"),
            "version is missing, which promote needs");
  EXPECT_EQ(ErrorOf("m", R"({"model_id":"m","version":"1","action":"canary"})"),
            "canary_percent is missing, or no number from 0 to 100");
  EXPECT_EQ(
      ErrorOf("m", R"({"model_id":"m","version":"1","action":"canary","canary_percent":101})"),
      "canary_percent is missing, or no number from 0 to 100");
  EXPECT_EQ(ErrorOf("m", R"({"model_id":"m","version":"1","action":"promote","sha256":"abc"})"),
            "sha256 is not 64 hexadecimal digits");
  EXPECT_EQ(ErrorOf("m", R"({"model_id":"m","version":1,"action":"promote"})"),
            "version is no string");
}

TEST_F(ModelEventTest, NothingThatIsSentCanCrashIt) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  const std::string good =
      R"({"model_id":"m","version":"2","action":"canary","canary_percent":5,)"
      R"("stable":{"version":"1"}})";
  for (int i = 0; i < 20'000; ++i) {
    std::string value = good;
    for (int edits = 1 + static_cast<int>(random() % 4); edits > 0; --edits) {
      value[random() % value.size()] = static_cast<char>(random());
    }
    const auto read = DecodeModelEvent(RecordOf("m", value));
    if (read.ok()) {
      EXPECT_LE(read->model_id.size(), 128u);
    }
  }
}

TEST_F(ModelEventTest, StatusesComeBackAsTheyWereWritten) {
  ModelStatus status{"m",     "2",      ModelState::kFailed,       "no \"such\" file", "1",
                     kDigest, "host-1", "2026-11-21T07:15:27.123Z"};
  const auto read = DecodeModelStatus(RecordOf(ModelStatusKey(status), EncodeModelStatus(status)));
  ASSERT_TRUE(read.ok()) << read.status().ToString();
  EXPECT_EQ(ModelStatusKey(*read), "m|host-1");
  EXPECT_EQ(read->state, ModelState::kFailed);
  EXPECT_EQ(read->detail, status.detail);
  EXPECT_EQ(read->serving, "1");
}

}  // namespace
}  // namespace millrace
