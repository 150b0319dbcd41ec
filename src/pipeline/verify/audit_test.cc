#include "pipeline/verify/audit.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>

#include "pipeline/verify/fake_log.h"

namespace millrace {
namespace {

std::string HeaderBlock(
    std::initializer_list<std::pair<std::string_view, std::string_view>> headers) {
  ByteBuffer block;
  for (const auto& [name, value] : headers) AppendHeader(name, value, block);
  return std::string(block.view());
}

// A log with a pretended worker that answers what it is told to.
class AuditTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (TopicSpec spec : {TopicSpec{.name = "inference.requests", .partitions = 4},
                           TopicSpec{.name = "inference.results", .partitions = 3},
                           TopicSpec{.name = "inference.dlq", .partitions = 2}}) {
      ASSERT_TRUE(log_.CreateTopic(spec).ok());
    }
  }

  // Publishes request `i`; every tenth is not JSON.
  std::pair<std::int32_t, std::int64_t> Send(int i) {
    const std::string key = fmt::format("t{}|m", i % 7);
    const std::string value =
        i % 10 == 3
            ? std::string("not json")
            : fmt::format(R"({{"request_id":"r{}","tenant_id":"t{}","model_id":"m","input":[1]}})",
                          i, i % 7);
    return log_.Append("inference.requests", key, value, HeaderBlock({{"model_id", "m"}}));
  }

  void Answer(std::int32_t partition, std::int64_t offset) {
    const auto& request = log_.topics["inference.requests"]
                              .partitions[static_cast<std::size_t>(partition)]
                              .records[static_cast<std::size_t>(offset)];
    const std::string tenant = request.key.substr(0, request.key.find('|'));
    if (request.value == "not json") {
      log_.Append("inference.dlq", tenant, request.value,
                  HeaderBlock({{"model_id", "m"},
                               {"original_topic", "inference.requests"},
                               {"original_partition", std::to_string(partition)},
                               {"original_offset", std::to_string(offset)},
                               {"original_key", request.key},
                               {"tenant_id", tenant},
                               {"reason", "decode"}}));
    } else {
      const std::string id = request.value.substr(15, request.value.find('"', 15) - 15);
      log_.Append(
          "inference.results", id,
          fmt::format(R"({{"request_id":"{}","tenant_id":"{}","status":"ok"}})", id, tenant),
          HeaderBlock({{"model_id", "m"},
                       {"tenant_id", tenant},
                       {"source", fmt::format("inference.requests:{}:{}", partition, offset)}}));
    }
    log_.committed["g"]["inference.requests"][partition] = Offset(offset + 1);
  }

  void SendAndAnswer(int from, int to) {
    for (int i = from; i < to; ++i) {
      const auto [partition, offset] = Send(i);
      Answer(partition, offset);
    }
  }

  LogAudit Run() {
    auto audit = AuditLog(
        log_,
        {.group = "g", .wait = [this](Millis pause) { clock_.Advance(pause); }, .clock = &clock_});
    EXPECT_TRUE(audit.ok()) << audit.status().ToString();
    return audit.ok() ? std::move(audit).value() : LogAudit{};
  }

  static OpenTransaction Open(std::int32_t partition, std::int64_t stable, std::int64_t end) {
    return {.partition = {"inference.results", partition},
            .stable = Offset(stable),
            .end = Offset(end)};
  }

  FakeLog log_;
  ManualClock clock_;
};

TEST_F(AuditTest, ApprovesASoundLog) {
  SendAndAnswer(0, 500);
  Send(500);
  const AuditReport report = Run().report;
  EXPECT_TRUE(report.ok);
  EXPECT_EQ(report.requests, 500);
  EXPECT_EQ(report.results, 450);
  EXPECT_EQ(report.dead_letters, 50);
  EXPECT_EQ(report.pending, 1);
  EXPECT_EQ(report.examined, 1001);
}

TEST_F(AuditTest, FindsAResultThatIsGone) {
  SendAndAnswer(0, 100);
  log_.topics["inference.results"].partitions[1].records.pop_back();
  const AuditReport report = Run().report;
  EXPECT_FALSE(report.ok);
  EXPECT_EQ(report.count(Violation::kMissing), 1);
}

TEST_F(AuditTest, FindsADeadLetterWithOtherBytes) {
  SendAndAnswer(0, 100);
  for (auto& partition : log_.topics["inference.dlq"].partitions) {
    for (auto& record : partition.records) record.value = "not  json";
  }
  EXPECT_EQ(Run().report.count(Violation::kAltered), 10);
}

TEST_F(AuditTest, FindsResultsThatDoNotSayWhoseTheyAre) {
  SendAndAnswer(0, 10);
  for (const char* source :
       {"", "x", "a:b:c", "inference.requests:0:", "inference.requests:0:1x"}) {
    log_.Append("inference.results", "k", "{}", HeaderBlock({{"source", source}}));
  }
  EXPECT_EQ(Run().report.count(Violation::kOrphaned), 5);
}

TEST_F(AuditTest, SurvivesTombstonesAndBytesThatAreNoJson) {
  SendAndAnswer(0, 10);
  log_.Append("inference.results", "", "", "", false);
  log_.Append("inference.dlq", "", std::string("\xFF\x00{", 3), "\x01\x02", false);
  log_.Append("inference.requests", "", "", "", false);
  EXPECT_EQ(Run().report.count(Violation::kOrphaned), 2);
}

TEST_F(AuditTest, RaisesNoFalseAlarmWhileAWorkerCommitsBetweenItsLooks) {
  SendAndAnswer(0, 300);
  int next = 300;
  log_.on_look = [&](int) {
    SendAndAnswer(next, next + 50);
    next += 50;
  };
  const AuditReport report = Run().report;
  EXPECT_TRUE(report.ok);
  EXPECT_EQ(report.requests, 350);
  EXPECT_EQ(report.in_progress, 100);
}

TEST_F(AuditTest, NamesATransactionThatHangs) {
  SendAndAnswer(0, 100);
  log_.open_transactions = {Open(1, 40, 47), Open(2, 10, 12)};
  log_.on_open_look = [&](int look) {
    if (look == 3) log_.open_transactions.pop_back();
  };
  const AuditReport report = Run().report;
  EXPECT_FALSE(report.ok);
  EXPECT_EQ(report.open_transactions, 1);
  ASSERT_EQ(report.open_examples.size(), 1u);
  EXPECT_EQ(report.open_examples[0].where, "inference.results:1:40");
  EXPECT_NE(report.open_examples[0].detail.find("7 records"), std::string::npos);
  EXPECT_EQ(clock_.Now(), MonoTime(Millis(15'000)));
}

TEST_F(AuditTest, LeavesARunningWorkersTransactionsAlone) {
  SendAndAnswer(0, 100);
  log_.open_transactions = {Open(1, 40, 47)};
  log_.on_open_look = [&](int look) {
    if (look > 1) log_.open_transactions = {Open(1, 40 + look * 3, 60)};
  };
  const AuditReport report = Run().report;
  EXPECT_TRUE(report.ok);
  EXPECT_EQ(report.open_transactions, 0);
  EXPECT_LT(clock_.Now(), MonoTime(Millis(1'000)));
}

// A cluster ends a transaction in one partition after the other: the offsets of a unit may be
// committed a moment before its outcomes can be read.
TEST_F(AuditTest, WaitsForOutcomesThatACommittedTransactionStillHoldsBack) {
  SendAndAnswer(0, 100);
  const auto [partition, offset] = Send(100);
  log_.committed["g"]["inference.requests"][partition] = Offset(offset + 1);
  log_.open_transactions = {Open(0, 30, 32)};
  log_.on_open_look = [&, at = partition, of = offset](int look) {
    if (look != 2) return;
    Answer(at, of);
    log_.open_transactions.clear();
  };
  const AuditReport report = Run().report;
  EXPECT_TRUE(report.ok);
  EXPECT_EQ(report.requests, 101);
}

TEST_F(AuditTest, AsksAgainWhileTheLogIsBusy) {
  SendAndAnswer(0, 100);
  log_.busy_answers = 3;
  EXPECT_TRUE(Run().report.ok);
  log_.busy_answers = 1'000'000;
  auto audit = AuditLog(
      log_,
      {.group = "g", .wait = [this](Millis pause) { clock_.Advance(pause); }, .clock = &clock_});
  EXPECT_EQ(audit.status().code(), StatusCode::kUnavailable);
}

TEST_F(AuditTest, SaysThatNothingWasCommittedAndWhichGroupsThereAre) {
  SendAndAnswer(0, 10);
  auto audit = AuditLog(log_, {.group = "other"});
  ASSERT_TRUE(audit.ok());
  EXPECT_TRUE(audit->report.vacuous);
  EXPECT_FALSE(audit->report.ok);
  ASSERT_FALSE(audit->notes.empty());
  EXPECT_NE(audit->notes.back().find("groups of this log: g"), std::string::npos)
      << audit->notes.back();
}

TEST_F(AuditTest, NamesATopicThatIsNotThere) {
  log_.topics.erase("inference.dlq");
  auto audit = AuditLog(log_, {.group = "g"});
  ASSERT_FALSE(audit.ok());
  EXPECT_EQ(audit.status().code(), StatusCode::kNotFound);
  EXPECT_NE(audit.status().message().find("inference.dlq"), std::string::npos);
}

}  // namespace
}  // namespace millrace
