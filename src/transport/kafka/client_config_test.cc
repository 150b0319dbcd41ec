#include "transport/kafka/client_config.h"

#include <gtest/gtest.h>

namespace millrace::kafka {
namespace {

constexpr Millis kTransactionTimeout{10'000};

Status Check(const KafkaOptions& options, std::vector<std::string>* warnings = nullptr) {
  std::vector<std::string> ignored;
  return CheckProperties(options, kTransactionTimeout, warnings == nullptr ? &ignored : warnings);
}

KafkaOptions With(const std::string& name, const std::string& value) {
  KafkaOptions options;
  options.properties[name] = value;
  return options;
}

std::map<std::string, std::string> Of(ClientRole role, const KafkaOptions& options) {
  ClientSpec spec;
  spec.role = role;
  spec.group = "g";
  spec.transactional_id = "g-0";
  spec.transaction_timeout = kTransactionTimeout;
  return ClientProperties(options, spec);
}

TEST(ClientConfigTest, WorkerReadsOnlyWhatIsCommittedAndCommitsNothingByItself) {
  const auto properties = Of(ClientRole::kGroupConsumer, {});
  EXPECT_EQ(properties.at("isolation.level"), "read_committed");
  EXPECT_EQ(properties.at("enable.auto.commit"), "false");
  EXPECT_EQ(properties.at("enable.auto.offset.store"), "false");
  EXPECT_EQ(properties.at("allow.auto.create.topics"), "false");
  EXPECT_EQ(properties.at("check.crcs"), "true");
  EXPECT_EQ(properties.at("auto.offset.reset"), "earliest");
  EXPECT_EQ(properties.at("partition.assignment.strategy"), "cooperative-sticky");
  EXPECT_EQ(properties.at("group.id"), "g");
}

TEST(ClientConfigTest, WorkerHearsSoonOfOthersThatJoinOrLeave) {
  EXPECT_EQ(Of(ClientRole::kGroupConsumer, {}).at("heartbeat.interval.ms"), "500");
  const auto chosen = Of(ClientRole::kGroupConsumer, With("heartbeat.interval.ms", "3000"));
  EXPECT_EQ(chosen.at("heartbeat.interval.ms"), "3000");
}

TEST(ClientConfigTest, TransactionsHaveTheirNameTimeoutAndQuickRetries) {
  const auto properties = Of(ClientRole::kTransactionalProducer, {});
  EXPECT_EQ(properties.at("transactional.id"), "g-0");
  EXPECT_EQ(properties.at("transaction.timeout.ms"), "10000");
  EXPECT_EQ(properties.at("message.timeout.ms"), "10000");
  EXPECT_EQ(properties.at("retry.backoff.ms"), "1");
  EXPECT_EQ(properties.at("acks"), "-1");
}

TEST(ClientConfigTest, QueuesFollowFromTheMemoryThatTheyAreGiven) {
  ClientSpec spec;
  spec.memory.prefetch_bytes = 2 << 20;
  spec.memory.unit_bytes = 200 << 20;
  spec.memory.unit_records = 5000;
  spec.role = ClientRole::kGroupConsumer;
  auto properties = ClientProperties({}, spec);
  EXPECT_EQ(properties.at("queued.max.messages.kbytes"), "2048");
  EXPECT_EQ(properties.at("fetch.message.max.bytes"), "131072");
  EXPECT_FALSE(properties.contains("fetch.max.bytes")) << "the client makes it the queue's";
  EXPECT_EQ(ClientProperties(With("queued.max.messages.kbytes", "77"), spec)
                .at("queued.max.messages.kbytes"),
            "77");
  for (const ClientRole role :
       {ClientRole::kTransactionalProducer, ClientRole::kProducer, ClientRole::kPatientProducer}) {
    spec.role = role;
    properties = ClientProperties({}, spec);
    EXPECT_EQ(properties.at("queue.buffering.max.messages"), "10000");
    EXPECT_EQ(properties.at("queue.buffering.max.kbytes"), "409600");
  }
  EXPECT_EQ(Of(ClientRole::kGroupConsumer, {}).at("queued.max.messages.kbytes"), "16384")
      << "who is given none keeps what was measured";
}

TEST(ClientConfigTest, UserChoosesWhatNothingRestsOn) {
  const auto properties = Of(ClientRole::kGroupConsumer, With("fetch.wait.max.ms", "7"));
  EXPECT_EQ(properties.at("fetch.wait.max.ms"), "7");
  EXPECT_TRUE(Check(With("security.protocol", "sasl_ssl")).ok());
  EXPECT_TRUE(Check(With("sasl.mechanism", "OAUTHBEARER")).ok());
}

TEST(ClientConfigTest, BrokerAssignsWhenItsProtocolIsAskedFor) {
  const auto properties = Of(ClientRole::kGroupConsumer, With("group.protocol", "consumer"));
  EXPECT_FALSE(properties.contains("partition.assignment.strategy"));
  EXPECT_FALSE(properties.contains("heartbeat.interval.ms"));
}

TEST(ClientConfigTest, WhoFollowsAsksSeldomUnlessTheUserSaysOtherwise) {
  EXPECT_EQ(Of(ClientRole::kFollower, KafkaOptions()).at("fetch.wait.max.ms"), "500");
  EXPECT_EQ(Of(ClientRole::kFollower, KafkaOptions()).at("enable.auto.commit"), "false");
  EXPECT_EQ(Of(ClientRole::kFollower, With("fetch.wait.max.ms", "7")).at("fetch.wait.max.ms"), "7");
}

TEST(ClientConfigTest, SupervisedWorkerIsTheSameMemberAgainUnlessTheUserHasNamedIt) {
  KafkaOptions options;
  options.supervised_member = "s-1";
  EXPECT_EQ(Of(ClientRole::kGroupConsumer, options).at("group.instance.id"), "s-1");
  EXPECT_FALSE(Of(ClientRole::kReader, options).contains("group.instance.id"));
  options.instance_id = "mine";
  EXPECT_FALSE(IsSupervisedMember(options));
  EXPECT_EQ(Of(ClientRole::kGroupConsumer, options).at("group.instance.id"), "mine");
  options = With("group.protocol", "consumer");
  options.supervised_member = "s-1";
  EXPECT_FALSE(Of(ClientRole::kGroupConsumer, options).contains("group.instance.id"));
}

TEST(ClientConfigTest, RefusesWhatMillraceDecidesAndSaysWhatToUse) {
  for (const char* name : {"bootstrap.servers", "group.id", "group.instance.id", "transactional.id",
                           "transaction.timeout.ms"}) {
    const Status status = Check(With(name, "1000"));
    EXPECT_EQ(status.code(), StatusCode::kConfiguration) << name;
    EXPECT_NE(status.message().find("use "), std::string::npos) << status.message();
  }
  EXPECT_EQ(Check(With("enable.auto.commit", "true")).code(), StatusCode::kConfiguration);
  // kafka.allow_unsafe is for guarantees, not for these.
  KafkaOptions options = With("enable.auto.commit", "true");
  options.allow_unsafe = true;
  EXPECT_FALSE(Check(options).ok());
}

TEST(ClientConfigTest, TakesADecidedPropertyWithItsOwnValue) {
  EXPECT_TRUE(Check(With("enable.auto.commit", "FALSE")).ok());
  EXPECT_TRUE(Check(With("acks", "all")).ok());
  EXPECT_TRUE(Check(With("isolation.level", "read_committed")).ok());
}

TEST(ClientConfigTest, WeakensAGuaranteeOnlyWhenToldToAndSaysSo) {
  KafkaOptions options = With("isolation.level", "read_uncommitted");
  const Status refused = Check(options);
  EXPECT_EQ(refused.code(), StatusCode::kConfiguration);
  EXPECT_NE(refused.message().find("--unsafe"), std::string::npos) << refused.message();
  options.allow_unsafe = true;
  std::vector<std::string> warnings;
  EXPECT_TRUE(Check(options, &warnings).ok());
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_EQ(Of(ClientRole::kGroupConsumer, options).at("isolation.level"), "read_uncommitted");
}

TEST(ClientConfigTest, OutcomesThatMayNotComeTwiceAreNeverGivenUpForTime) {
  const auto properties = Of(ClientRole::kPatientProducer, {});
  EXPECT_EQ(properties.at("message.timeout.ms"), "0");
  EXPECT_EQ(properties.at("enable.idempotence"), "true");
  EXPECT_EQ(properties.at("acks"), "-1");
  EXPECT_EQ(properties.at("partitioner"), "murmur2_random");
  EXPECT_FALSE(Of(ClientRole::kProducer, {}).contains("message.timeout.ms"));
}

TEST(ClientConfigTest, NamesAPropertyThatDoesNotExist) {
  const Status status = Check(With("fetch.wait.max", "7"));
  EXPECT_EQ(status.code(), StatusCode::kConfiguration);
  EXPECT_NE(status.message().find("fetch.wait.max"), std::string::npos);
}

TEST(ClientConfigTest, SessionMustOutliveATransaction) {
  EXPECT_FALSE(Check(With("session.timeout.ms", "10000")).ok());
  EXPECT_TRUE(Check(With("session.timeout.ms", "10001")).ok());
}

}  // namespace
}  // namespace millrace::kafka
