#include "transport/kafka/admin.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <span>
#include <thread>

#include "transport/kafka/client_config.h"
#include "transport/kafka/error.h"

namespace millrace::kafka {
namespace {

using NewTopicPtr = std::unique_ptr<rd_kafka_NewTopic_t, HandleDeleter<rd_kafka_NewTopic_destroy>>;
using CollectionPtr =
    std::unique_ptr<rd_kafka_TopicCollection_t, HandleDeleter<rd_kafka_TopicCollection_destroy>>;

constexpr Millis kPause{100};  // Before it is asked again.
constexpr std::size_t kErrorText = 512;

AdminOptionsPtr NewOptions(rd_kafka_t* client, rd_kafka_admin_op_t operation) {
  return AdminOptionsPtr(rd_kafka_AdminOptions_new(client, operation));
}

template <class T>
bool ParseNumber(const char* text, T* value) {
  if (text == nullptr) return false;
  const std::string_view view = text;
  return std::from_chars(view.data(), view.data() + view.size(), *value).ec == std::errc();
}

// Takes from a topic's configuration what a TopicSpec tells of it.
void ReadConfig(const char* name, const char* value, TopicSpec* spec) {
  const std::string_view key = name;
  std::int64_t number = 0;
  if (value == nullptr) return;
  if (key == "cleanup.policy") {
    const bool compacts = std::string_view(value).find("compact") != std::string_view::npos;
    spec->cleanup = compacts ? CleanupPolicy::kCompact : CleanupPolicy::kDelete;
  } else if (key == "retention.ms" && ParseNumber(value, &number)) {
    spec->retention = Millis(std::max<std::int64_t>(0, number));
  } else if (key == "min.insync.replicas") {
    static_cast<void>(ParseNumber(value, &spec->min_insync_replicas));
  } else if (key == "max.message.bytes") {
    static_cast<void>(ParseNumber(value, &spec->max_message_bytes));
  }
}

}  // namespace

Result<std::unique_ptr<AdminClient>> AdminClient::Open(const KafkaOptions& options) {
  auto admin = std::make_unique<AdminClient>(options);
  ClientSpec spec;
  spec.role = ClientRole::kAdmin;
  auto conf = BuildConf(options, spec, &admin->events_);
  if (!conf.ok()) return conf.status();
  auto client = NewClient(RD_KAFKA_PRODUCER, std::move(*conf), admin->events_);
  if (!client.ok()) return client.status();
  admin->client_ = std::move(*client);
  MILLRACE_RETURN_IF_ERROR(admin->Connect());
  return admin;
}

// A broker's identity is the least that can be asked for: it needs no right to any topic.
Status AdminClient::Connect() {
  constexpr Millis kSlice{500};
  constexpr Millis kPause{100};
  rd_kafka_t* const client = client_.get();
  const MonoTime deadline = SystemClock().Now() + kConnectTimeout;
  rd_kafka_resp_err_t error = RD_KAFKA_RESP_ERR_NO_ERROR;
  do {
    const rd_kafka_metadata_t* metadata = nullptr;
    error = rd_kafka_metadata(client, 0, nullptr, &metadata, static_cast<int>(kSlice.count()));
    rd_kafka_poll(client, 0);  // Fetches the reasons of what failed.
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR) {
      const bool known = metadata->broker_cnt > 0;
      rd_kafka_metadata_destroy(metadata);
      if (known) return {};
      // A broker that starts, or stood still, answers before its cluster lets it in again, and
      // names nobody. The client would not ask anew by itself, and calls would wait in vain.
      std::this_thread::sleep_for(kPause);
    }
    if (events_.login_refused()) {
      return {StatusCode::kConfiguration,
              fmt::format("{} did not take the login: {}; check security.protocol and sasl.* in "
                          "kafka.properties (-X)",
                          options_.brokers, events_.last_error())};
    }
  } while (SystemClock().Now() < deadline);
  const std::string reason = error == RD_KAFKA_RESP_ERR_NO_ERROR
                                 ? "the one that answered is not let into its cluster yet"
                                 : events_.last_error();
  return {StatusCode::kUnavailable,
          fmt::format("no broker of {} answered within {} s: {}; check kafka.brokers (-b), and "
                      "security.protocol when the cluster wants TLS or a login",
                      options_.brokers, kConnectTimeout.count() / 1000,
                      reason.empty() ? rd_kafka_err2str(error) : reason)};
}

Result<EventPtr> AdminClient::Ask(rd_kafka_admin_op_t operation, std::string_view doing,
                                  const rd_kafka_AdminOptions_t* options, const Call& call) {
  AdminOptionsPtr own;
  if (options == nullptr) {
    own = NewOptions(client_.get(), operation);
    options = own.get();
  }
  const QueuePtr queue(rd_kafka_queue_new(client_.get()));
  call(options, queue.get());
  EventPtr event(rd_kafka_queue_poll(queue.get(), static_cast<int>(kTimeout.count())));
  if (event == nullptr) {
    return Status(StatusCode::kUnavailable,
                  fmt::format("{}: no answer within {} s", doing, kTimeout.count() / 1000));
  }
  const rd_kafka_resp_err_t error = rd_kafka_event_error(event.get());
  if (error == RD_KAFKA_RESP_ERR_NO_ERROR) return event;
  return StatusOf(error, rd_kafka_event_error_string(event.get()), doing);
}

Status AdminClient::CreateTopic(const TopicSpec& spec) {
  char text[kErrorText];
  const NewTopicPtr topic(rd_kafka_NewTopic_new(spec.name.c_str(), spec.partitions,
                                                spec.replication_factor, text, sizeof text));
  if (topic == nullptr) return {StatusCode::kInvalidArgument, text};
  const auto set = [&](const char* name, const std::string& value) {
    rd_kafka_NewTopic_set_config(topic.get(), name, value.c_str());
  };
  if (spec.cleanup == CleanupPolicy::kCompact) {
    set("cleanup.policy", "compact");
  } else {
    set("cleanup.policy", "delete");
    set("retention.ms", std::to_string(spec.retention.count() > 0 ? spec.retention.count() : -1));
  }
  set("min.insync.replicas", std::to_string(spec.min_insync_replicas));
  if (spec.max_message_bytes > 0) set("max.message.bytes", std::to_string(spec.max_message_bytes));
  rd_kafka_NewTopic_t* topics[] = {topic.get()};
  auto answer = Ask(RD_KAFKA_ADMIN_OP_CREATETOPICS, "creating topic " + spec.name, nullptr,
                    [&](const rd_kafka_AdminOptions_t* options, rd_kafka_queue_t* queue) {
                      rd_kafka_CreateTopics(client_.get(), topics, 1, options, queue);
                    });
  if (!answer.ok()) return answer.status();
  std::size_t count = 0;
  const rd_kafka_topic_result_t* const* const results = rd_kafka_CreateTopics_result_topics(
      rd_kafka_event_CreateTopics_result(answer->get()), &count);
  for (const rd_kafka_topic_result_t* result : std::span(results, count)) {
    const rd_kafka_resp_err_t error = rd_kafka_topic_result_error(result);
    const char* const reason = rd_kafka_topic_result_error_string(result);
    MILLRACE_RETURN_IF_ERROR(StatusOf(error, reason == nullptr ? rd_kafka_err2str(error) : reason,
                                      "creating topic " + spec.name));
  }
  return {};
}

Result<std::vector<std::string>> AdminClient::TopicNames() {
  const rd_kafka_metadata_t* metadata = nullptr;
  const rd_kafka_resp_err_t error =
      rd_kafka_metadata(client_.get(), 1, nullptr, &metadata, static_cast<int>(kTimeout.count()));
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) return StatusOf(error, "listing topics");
  std::vector<std::string> names;
  for (const rd_kafka_metadata_topic& topic :
       std::span(metadata->topics, static_cast<std::size_t>(metadata->topic_cnt))) {
    if (!std::string_view(topic.topic).starts_with("__")) names.emplace_back(topic.topic);
  }
  rd_kafka_metadata_destroy(metadata);
  std::sort(names.begin(), names.end());
  return names;
}

Result<std::vector<TopicInfo>> AdminClient::Layout(const std::vector<std::string>& names) {
  std::vector<const char*> pointers;
  for (const std::string& name : names) pointers.push_back(name.c_str());
  const CollectionPtr collection(
      rd_kafka_TopicCollection_of_topic_names(pointers.data(), pointers.size()));
  auto answer = Ask(RD_KAFKA_ADMIN_OP_DESCRIBETOPICS, "describing topics", nullptr,
                    [&](const rd_kafka_AdminOptions_t* options, rd_kafka_queue_t* queue) {
                      rd_kafka_DescribeTopics(client_.get(), collection.get(), options, queue);
                    });
  if (!answer.ok()) return answer.status();
  std::size_t count = 0;
  const rd_kafka_TopicDescription_t** const topics = rd_kafka_DescribeTopics_result_topics(
      rd_kafka_event_DescribeTopics_result(answer->get()), &count);
  std::vector<TopicInfo> infos;
  for (const rd_kafka_TopicDescription_t* topic : std::span(topics, count)) {
    const char* const name = rd_kafka_TopicDescription_name(topic);
    const rd_kafka_error_t* const error = rd_kafka_TopicDescription_error(topic);
    if (error != nullptr) {
      Status status = StatusOf(error, fmt::format("describing topic {}", name));
      if (status.code() == StatusCode::kNotFound) continue;
      return status;
    }
    TopicInfo& info = infos.emplace_back();
    info.spec.name = name;
    std::size_t partitions = 0;
    const rd_kafka_TopicPartitionInfo_t** const parts =
        rd_kafka_TopicDescription_partitions(topic, &partitions);
    info.spec.partitions = static_cast<std::int32_t>(partitions);
    for (const rd_kafka_TopicPartitionInfo_t* part : std::span(parts, partitions)) {
      std::size_t replicas = 0;
      rd_kafka_TopicPartitionInfo_replicas(part, &replicas);
      info.spec.replication_factor = static_cast<std::int32_t>(replicas);
      info.partitions.push_back(
          {rd_kafka_TopicPartitionInfo_partition(part), Offset(0), Offset(0)});
    }
    std::sort(info.partitions.begin(), info.partitions.end(),
              [](const auto& a, const auto& b) { return a.partition < b.partition; });
  }
  return infos;
}

Status AdminClient::ReadOffsets(std::vector<TopicInfo>* topics, Ends ends) {
  for (const rd_kafka_OffsetSpec_t which :
       {RD_KAFKA_OFFSET_SPEC_EARLIEST, RD_KAFKA_OFFSET_SPEC_LATEST}) {
    const PartitionListPtr list = NewPartitionList(16);
    for (const TopicInfo& topic : *topics) {
      for (const PartitionInfo& partition : topic.partitions) {
        rd_kafka_topic_partition_list_add(list.get(), topic.spec.name.c_str(), partition.partition)
            ->offset = which;
      }
    }
    if (list->cnt == 0) return {};
    const AdminOptionsPtr options = NewOptions(client_.get(), RD_KAFKA_ADMIN_OP_LISTOFFSETS);
    const ErrorPtr ignored(rd_kafka_AdminOptions_set_isolation_level(
        options.get(), ends == Ends::kCommitted ? RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED
                                                : RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED));
    auto answer = Ask(RD_KAFKA_ADMIN_OP_LISTOFFSETS, "listing offsets", options.get(),
                      [&](const rd_kafka_AdminOptions_t* given, rd_kafka_queue_t* queue) {
                        rd_kafka_ListOffsets(client_.get(), list.get(), given, queue);
                      });
    if (!answer.ok()) return answer.status();
    std::size_t count = 0;
    const rd_kafka_ListOffsetsResultInfo_t** const results =
        rd_kafka_ListOffsets_result_infos(rd_kafka_event_ListOffsets_result(answer->get()), &count);
    for (const rd_kafka_ListOffsetsResultInfo_t* result : std::span(results, count)) {
      const rd_kafka_topic_partition_t* const found =
          rd_kafka_ListOffsetsResultInfo_topic_partition(result);
      MILLRACE_RETURN_IF_ERROR(StatusOf(
          found->err, fmt::format("offsets of {} partition {}", found->topic, found->partition)));
      const auto topic = std::find_if(topics->begin(), topics->end(), [&](const TopicInfo& info) {
        return info.spec.name == found->topic;
      });
      if (topic == topics->end()) continue;
      PartitionInfo& partition = topic->partitions.at(static_cast<std::size_t>(found->partition));
      (which == RD_KAFKA_OFFSET_SPEC_EARLIEST ? partition.start : partition.end) =
          Offset(found->offset);
    }
  }
  return {};
}

// Who may read a topic may still not be allowed to read its configuration: then it stays unknown.
Status AdminClient::ReadConfigs(std::vector<TopicInfo>* topics) {
  std::vector<rd_kafka_ConfigResource_t*> wanted;
  for (const TopicInfo& topic : *topics) {
    wanted.push_back(rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic.spec.name.c_str()));
  }
  auto answer =
      Ask(RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS, "reading the configuration of topics", nullptr,
          [&](const rd_kafka_AdminOptions_t* options, rd_kafka_queue_t* queue) {
            rd_kafka_DescribeConfigs(client_.get(), wanted.data(), wanted.size(), options, queue);
          });
  rd_kafka_ConfigResource_destroy_array(wanted.data(), wanted.size());
  if (!answer.ok()) {
    return answer.status().code() == StatusCode::kConfiguration ? Status() : answer.status();
  }
  std::size_t count = 0;
  const rd_kafka_ConfigResource_t** const resources = rd_kafka_DescribeConfigs_result_resources(
      rd_kafka_event_DescribeConfigs_result(answer->get()), &count);
  for (const rd_kafka_ConfigResource_t* resource : std::span(resources, count)) {
    const std::string_view name = rd_kafka_ConfigResource_name(resource);
    const auto topic = std::find_if(topics->begin(), topics->end(),
                                    [&](const TopicInfo& info) { return info.spec.name == name; });
    if (topic == topics->end()) continue;
    std::size_t entries = 0;
    const rd_kafka_ConfigEntry_t** const configs =
        rd_kafka_ConfigResource_configs(resource, &entries);
    for (const rd_kafka_ConfigEntry_t* entry : std::span(configs, entries)) {
      ReadConfig(rd_kafka_ConfigEntry_name(entry), rd_kafka_ConfigEntry_value(entry), &topic->spec);
    }
  }
  return {};
}

Result<std::vector<TopicInfo>> AdminClient::Describe(const std::vector<std::string>& names) {
  std::vector<std::string> wanted = names;
  if (wanted.empty()) {
    auto all = TopicNames();
    if (!all.ok()) return all.status();
    wanted = std::move(*all);
  }
  std::sort(wanted.begin(), wanted.end());
  wanted.erase(std::unique(wanted.begin(), wanted.end()), wanted.end());
  if (wanted.empty()) return std::vector<TopicInfo>();
  auto topics = Layout(wanted);
  if (!topics.ok() || topics->empty()) return topics;
  MILLRACE_RETURN_IF_ERROR(ReadOffsets(&*topics, Ends::kCommitted));
  MILLRACE_RETURN_IF_ERROR(ReadConfigs(&*topics));
  return topics;
}

// Asks as a consumer of the group would, one that never joins it: the administrator's request gives
// up when the coordinator loads or moves, and where a commit is under way.
Result<std::map<std::int32_t, CommittedPosition>> AdminClient::CommittedOffsets(
    const std::string& group, const std::string& topic) {
  const std::string doing = "reading the committed offsets of group " + group;
  auto layout = Layout({topic});
  if (!layout.ok()) return layout.status();
  std::map<std::int32_t, CommittedPosition> offsets;
  if (layout->empty()) return offsets;
  ClientEvents events("offsets client");
  ClientSpec spec;
  spec.role = ClientRole::kGroupConsumer;
  spec.group = group;
  auto conf = BuildConf(options_, spec, &events);
  if (!conf.ok()) return conf.status();
  auto client = NewClient(RD_KAFKA_CONSUMER, std::move(*conf), events);
  if (!client.ok()) return client.status();
  const PartitionListPtr list = NewPartitionList(layout->front().partitions.size());
  for (const PartitionInfo& partition : layout->front().partitions) {
    rd_kafka_topic_partition_list_add(list.get(), topic.c_str(), partition.partition);
  }
  // A coordinator that loads or moves says so at once.
  const MonoTime deadline = SystemClock().Now() + kTimeout;
  Status asked;
  do {
    if (!asked.ok()) std::this_thread::sleep_for(kPause);
    asked = StatusOf(
        rd_kafka_committed(client->get(), list.get(), static_cast<int>(kTimeout.count())), doing);
  } while (asked.code() == StatusCode::kUnavailable && SystemClock().Now() < deadline);
  MILLRACE_RETURN_IF_ERROR(asked);
  for (const rd_kafka_topic_partition_t& element :
       std::span(list->elems, static_cast<std::size_t>(list->cnt))) {
    MILLRACE_RETURN_IF_ERROR(
        StatusOf(element.err, fmt::format("{}, {} partition {}", doing, topic, element.partition)));
    if (element.offset < 0) continue;
    offsets[element.partition] = {Offset(element.offset), std::string(NoteOf(element))};
  }
  return offsets;
}

Result<std::vector<std::string>> AdminClient::Groups() {
  auto answer = Ask(RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPS, "listing groups", nullptr,
                    [&](const rd_kafka_AdminOptions_t* options, rd_kafka_queue_t* queue) {
                      rd_kafka_ListConsumerGroups(client_.get(), options, queue);
                    });
  if (!answer.ok()) return answer.status();
  std::size_t count = 0;
  const rd_kafka_ConsumerGroupListing_t** const groups = rd_kafka_ListConsumerGroups_result_valid(
      rd_kafka_event_ListConsumerGroups_result(answer->get()), &count);
  std::vector<std::string> names;
  for (const rd_kafka_ConsumerGroupListing_t* group : std::span(groups, count)) {
    names.emplace_back(rd_kafka_ConsumerGroupListing_group_id(group));
  }
  std::sort(names.begin(), names.end());
  return names;
}

Result<std::vector<OpenTransaction>> AdminClient::OpenTransactions(
    const std::vector<std::string>& names) {
  auto stable = Layout(names);
  if (!stable.ok()) return stable.status();
  // The stable end is read first: what commits in between counts as open, and is looked at again.
  MILLRACE_RETURN_IF_ERROR(ReadOffsets(&*stable, Ends::kCommitted));
  std::vector<TopicInfo> all = *stable;
  MILLRACE_RETURN_IF_ERROR(ReadOffsets(&all, Ends::kAll));
  std::vector<OpenTransaction> open;
  for (std::size_t t = 0; t < all.size(); ++t) {
    for (std::size_t p = 0; p < all[t].partitions.size(); ++p) {
      const Offset stable_end = (*stable)[t].partitions[p].end;
      const PartitionInfo& partition = all[t].partitions[p];
      if (stable_end >= partition.end) continue;
      open.push_back({{all[t].spec.name, partition.partition}, stable_end, partition.end});
    }
  }
  return open;
}

}  // namespace millrace::kafka
