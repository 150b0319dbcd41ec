// AdminClient: topics, offsets and groups of a cluster, asked for outside any group.
//
// Every call is one round of requests that waits for its answer, at most kTimeout. Thread-safe:
// calls take turns at the queue their answers come to. Internal to transport/kafka.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/status.h"
#include "transport/kafka/client_events.h"
#include "transport/kafka/handles.h"
#include "transport/log.h"

namespace millrace::kafka {

class AdminClient {
 public:
  static constexpr Millis kTimeout{10'000};
  // How long Open waits for a first broker.
  static constexpr Millis kConnectTimeout{5'000};

  static Result<std::unique_ptr<AdminClient>> Open(const KafkaOptions& options);
  explicit AdminClient(const KafkaOptions& options) : options_(options) {}
  AdminClient(const AdminClient&) = delete;
  AdminClient& operator=(const AdminClient&) = delete;

  Status CreateTopic(const TopicSpec& spec);
  // Those of `names` that exist, in the order of `names`; all but internal ones when it is empty.
  Result<std::vector<TopicInfo>> Describe(const std::vector<std::string>& names);
  Result<std::map<std::int32_t, CommittedPosition>> CommittedOffsets(const std::string& group,
                                                                     const std::string& topic);
  Result<std::vector<std::string>> Groups();
  Result<std::vector<OpenTransaction>> OpenTransactions(const std::vector<std::string>& topics);
  const std::string& brokers() const { return options_.brokers; }

 private:
  enum class Ends { kCommitted, kAll };

  using Call = std::function<void(const rd_kafka_AdminOptions_t*, rd_kafka_queue_t*)>;
  // Makes the call and waits for its answer, which has no error.
  Result<EventPtr> Ask(rd_kafka_admin_op_t operation, std::string_view doing,
                       const rd_kafka_AdminOptions_t* options, const Call& call);
  Status Connect();
  Result<std::vector<std::string>> TopicNames();
  Result<std::vector<TopicInfo>> Layout(const std::vector<std::string>& names);
  Status ReadOffsets(std::vector<TopicInfo>* topics, Ends ends);
  Status ReadConfigs(std::vector<TopicInfo>* topics);

  const KafkaOptions options_;
  ClientEvents events_{"admin client"};
  ClientPtr client_;
};

}  // namespace millrace::kafka
