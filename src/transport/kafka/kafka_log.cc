#include "transport/kafka/kafka_log.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "telemetry/log.h"
#include "transport/kafka/admin.h"
#include "transport/kafka/client_config.h"
#include "transport/kafka/committer.h"
#include "transport/kafka/producer.h"
#include "transport/kafka/reader.h"
#include "transport/kafka/source.h"

namespace millrace {
namespace kafka {
namespace {

// Measured at 500 requests a second on a warm broker, three runs each: 5 ms give a median of 10.0
// ms, 2 ms 9.2, 1 ms 8.3 and none 7.5 to 9.4, with twice the transactions of 5 ms. Counted from the
// end of the last commit, whose markers are still being written then; a transaction that begins
// earlier asks until they are.
constexpr Millis kMinCommitInterval{1};
// A claim that got no answer is sent again after this; the client's default is a minute.
constexpr const char* kClaimSocketTimeout = "10000";
constexpr std::int32_t kSafeReplicas = 3;
constexpr std::int32_t kSafeInsync = 2;

class KafkaLog final : public Log {
 public:
  explicit KafkaLog(const TransportOptions& options) : options_(options.kafka) {}

  Status Open() {
    std::vector<std::string> warnings;
    MILLRACE_RETURN_IF_ERROR(CheckProperties(options_, Millis(0), &warnings));
    for (const std::string& warning : warnings) {
      LogEvent(LogLevel::kWarn, "unsafe_property",
               "UNSAFE: a property weakens the guarantees, as kafka.allow_unsafe asks for",
               {{"property", warning}});
    }
    auto admin = AdminClient::Open(options_);
    if (!admin.ok()) return admin.status();
    admin_ = std::move(*admin);
    return {};
  }

  Status CreateTopic(const TopicSpec& spec) override { return admin_->CreateTopic(spec); }
  Result<std::vector<TopicInfo>> DescribeTopics(const std::vector<std::string>& names) override {
    return admin_->Describe(names);
  }
  Result<std::map<std::int32_t, CommittedPosition>> CommittedOffsets(
      const std::string& group, const std::string& topic) override {
    return admin_->CommittedOffsets(group, topic);
  }
  Result<std::vector<std::string>> Groups() override { return admin_->Groups(); }
  using Log::NewProducer;
  Result<std::unique_ptr<Producer>> NewProducer(Millis patience) override {
    return kafka::NewProducer(options_, patience);
  }
  using Log::NewReader;
  Result<std::unique_ptr<Reader>> NewReader(ReadPace pace) override {
    return kafka::NewReader(options_, pace);
  }
  Result<std::vector<OpenTransaction>> OpenTransactions(
      const std::vector<std::string>& topics) override {
    return admin_->OpenTransactions(topics);
  }
  Result<WorkerLog> OpenWorker(const WorkerLogOptions& options) override;

 private:
  // The topics that the worker uses, or kNotFound with all that are missing.
  Result<std::vector<TopicInfo>> CheckTopics(const WorkerLogOptions& options);
  static void WarnOfReplication(const std::vector<TopicInfo>& topics);

  const KafkaOptions options_;
  std::unique_ptr<AdminClient> admin_;
};

Result<std::vector<TopicInfo>> KafkaLog::CheckTopics(const WorkerLogOptions& options) {
  const std::vector<std::string> names = {options.topics.requests, options.topics.results,
                                          options.topics.dlq};
  auto topics = admin_->Describe(names);
  if (!topics.ok()) return topics.status();
  std::vector<std::string> missing;
  for (const std::string& name : names) {
    const bool found = std::any_of(topics->begin(), topics->end(),
                                   [&](const TopicInfo& topic) { return topic.spec.name == name; });
    if (!found) missing.push_back(name);
  }
  if (missing.empty()) return topics;
  return Status(StatusCode::kNotFound,
                fmt::format("{} not exist on {}: make the topics with `millrace topics create -b "
                            "{}`, or name those to use with topics.*",
                            fmt::join(missing, missing.size() == 2 ? " and " : ", "),
                            admin_->brokers(), admin_->brokers()));
}

void KafkaLog::WarnOfReplication(const std::vector<TopicInfo>& topics) {
  std::vector<std::string> weak;
  for (const TopicInfo& topic : topics) {
    const TopicSpec& spec = topic.spec;
    if (spec.replication_factor >= kSafeReplicas && spec.min_insync_replicas >= kSafeInsync) {
      continue;
    }
    weak.push_back(fmt::format("{} (replication factor {}, min.insync.replicas {})", spec.name,
                               spec.replication_factor, spec.min_insync_replicas));
  }
  if (weak.empty()) return;
  LogEvent(LogLevel::kWarn, "weak_replication",
           "topics may lose what is committed when a broker is lost; production wants a "
           "replication factor of 3 and min.insync.replicas of 2",
           {{"topics", fmt::format("{}", fmt::join(weak, ", "))}});
}

OutputLimits LimitsOf(const std::vector<TopicInfo>& topics, const TopicOptions& names) {
  OutputLimits limits;
  for (const TopicInfo& topic : topics) {
    const auto bytes = static_cast<std::size_t>(std::max(0, topic.spec.max_message_bytes));
    if (topic.spec.name == names.results) {
      limits.max_bytes[static_cast<std::size_t>(OutputTopic::kResults)] = bytes;
    }
    if (topic.spec.name == names.dlq) {
      limits.max_bytes[static_cast<std::size_t>(OutputTopic::kDeadLetters)] = bytes;
    }
  }
  return limits;
}

Result<WorkerLog> KafkaLog::OpenWorker(const WorkerLogOptions& options) {
  std::vector<std::string> told;  // The warnings were given when the log was opened.
  MILLRACE_RETURN_IF_ERROR(CheckProperties(options_, options.transaction_timeout, &told));
  auto topics = CheckTopics(options);
  if (!topics.ok()) return topics.status();
  WarnOfReplication(*topics);
  const OutputLimits limits = LimitsOf(*topics, options.topics);
  auto member = std::make_shared<Membership>();
  member->group = options.group;
  member->requests = options.topics.requests;
  KafkaOptions kafka = options_;
  if (options.mode == DeliveryMode::kAtMostOnce) {
    kafka.properties.try_emplace("socket.timeout.ms", kClaimSocketTimeout);
  }
  auto source = KafkaSource::Open(kafka, options.memory, member);
  if (!source.ok()) return source.status();
  WorkerLog worker;
  worker.source = std::move(*source);
  Result<std::unique_ptr<Committer>> committer = Status(StatusCode::kInternal, "not made");
  if (options.mode == DeliveryMode::kAtMostOnce) {
    committer = NewAtMostOnceCommitter(options_, options, limits, member);
  } else if (options.mode == DeliveryMode::kExactlyOnce) {
    auto slot = SlotLease::Take(options_.slot, options_.brokers + "/" + options.group);
    if (!slot.ok()) return slot.status();
    LogEvent(LogLevel::kInfo, "slot_taken", "transactions of this worker are called",
             {{"transactional_id", options.group + "-" + slot->name()}});
    committer = NewTransactionalCommitter(options_, options, limits, member, std::move(*slot));
  } else {
    committer = NewAtLeastOnceCommitter(options_, options, limits, member);
  }
  if (!committer.ok()) return committer.status();
  worker.committer = std::move(*committer);
  worker.min_commit_interval = kMinCommitInterval;
  const std::size_t largest = limits.max_bytes[static_cast<std::size_t>(OutputTopic::kResults)];
  worker.max_result_bytes = largest > kRecordOverhead ? largest - kRecordOverhead : 0;
  return worker;
}

}  // namespace
}  // namespace kafka

Result<std::unique_ptr<Log>> OpenKafkaLog(const TransportOptions& options) {
  auto log = std::make_unique<kafka::KafkaLog>(options);
  MILLRACE_RETURN_IF_ERROR(log->Open());
  return std::unique_ptr<Log>(std::move(log));
}

}  // namespace millrace
