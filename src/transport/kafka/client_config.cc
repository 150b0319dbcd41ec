#include "transport/kafka/client_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <optional>
#include <string_view>

#include "telemetry/log.h"
#include "transport/kafka/error.h"

namespace millrace::kafka {
namespace {

// A property that Millrace decides. `value` empty: any value of the user's is refused.
struct Decided {
  std::string_view name;
  std::string_view value;
  std::string_view instead;  // What to do about it.
  bool unsafe_may = false;   // kafka.allow_unsafe lets another value through.
};

constexpr std::string_view kOffsetsInTransaction =
    "offsets are committed together with the outcomes, by nobody else";

constexpr std::array<Decided, 20> kDecided = {{
    {"bootstrap.servers", "", "use kafka.brokers, or -b"},
    {"metadata.broker.list", "", "use kafka.brokers, or -b"},
    {"group.id", "", "use kafka.group, or -g"},
    {"group.instance.id", "", "use kafka.instance_id"},
    {"transactional.id", "", "use kafka.slot"},
    {"transaction.timeout.ms", "", "use delivery.transaction_timeout"},
    {"plugin.library.paths", "", "plug-ins are not loaded"},
    {"enable.auto.commit", "false", kOffsetsInTransaction},
    {"auto.commit.enable", "false", kOffsetsInTransaction},
    {"enable.auto.offset.store", "false", kOffsetsInTransaction},
    {"enable.partition.eof", "true", "positions past transaction markers are learnt from it"},
    {"enable.idempotence", "true", "without it a retry may write an outcome twice"},
    {"allow.auto.create.topics", "false",
     "make topics with `millrace topics create`: one made by accident has the wrong partitions"},
    {"partition.assignment.strategy", "cooperative-sticky",
     "partitions are taken over one by one; for the protocol of the broker set "
     "group.protocol=consumer"},
    {"isolation.level", "read_committed",
     "aborted records are no requests, and a new owner has to wait for a pending commit", true},
    {"check.crcs", "true", "a damaged record must not become a request", true},
    {"acks", "-1", "an outcome is committed when all in-sync replicas have it", true},
    {"request.required.acks", "-1", "an outcome is committed when all in-sync replicas have it",
     true},
    {"partitioner", "murmur2_random", "other clients place keys like this, and so must we", true},
    {"enable.gapless.guarantee", "false", "it makes a failed record fatal", true},
}};

std::string Lower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return lower;
}

bool SameValue(const Decided& decided, std::string_view given) {
  const std::string value = Lower(given);
  return value == decided.value || (decided.value == "-1" && value == "all") ||
         (decided.value == "true" && (value == "1" || value == "t")) ||
         (decided.value == "false" && (value == "0" || value == "f"));
}

const Decided* FindDecided(std::string_view name) {
  const auto it = std::find_if(kDecided.begin(), kDecided.end(),
                               [&](const Decided& d) { return d.name == name; });
  return it == kDecided.end() ? nullptr : &*it;
}

Status Refused(std::string_view name, std::string_view value, const Decided& decided) {
  const std::string wanted =
      decided.value.empty() ? std::string() : fmt::format(" Millrace needs {};", decided.value);
  return {
      StatusCode::kConfiguration,
      fmt::format("kafka.properties.{}={} is refused:{} {}{}", name, value, wanted, decided.instead,
                  decided.unsafe_may ? "; --unsafe takes it nevertheless" : "")};
}

std::optional<std::int64_t> IntegerOf(const std::map<std::string, std::string>& properties,
                                      const char* name) {
  const auto it = properties.find(name);
  if (it == properties.end()) return std::nullopt;
  std::int64_t value = 0;
  const char* const end = it->second.data() + it->second.size();
  if (std::from_chars(it->second.data(), end, value).ec != std::errc()) return std::nullopt;
  return value;
}

bool BrokerAssigns(const KafkaOptions& options) {
  const auto protocol = options.properties.find("group.protocol");
  return protocol != options.properties.end() && Lower(protocol->second) == "consumer";
}

// What every client is told, unless the user says otherwise.
constexpr std::array<std::pair<const char*, const char*>, 3> kCommon = {{
    {"client.id", "millrace"},
    {"log.connection.close", "false"},
    // Pushing metrics to the cluster is for those who ask for it.
    {"enable.metrics.push", "false"},
}};

constexpr std::array<std::pair<const char*, const char*>, 6> kConsumer = {{
    {"auto.offset.reset", "earliest"},
    // How long an idle partition's end, and with it an idle commit, may take to be noticed.
    {"fetch.wait.max.ms", "100"},
    // Measured: 8 to 16 MiB of prefetch are as fast as 64, and answers of 256 KiB a partition as
    // fast as those of 1 MiB, with 100 MiB less memory.
    {"queued.max.messages.kbytes", "16384"},
    {"fetch.message.max.bytes", "262144"},
    // The default of a second starves a consumer that empties its queue faster than that.
    {"fetch.queue.backoff.ms", "5"},
    {"max.poll.interval.ms", "300000"},
}};

constexpr std::array<std::pair<const char*, const char*>, 4> kReader = {{
    {"auto.offset.reset", "earliest"},
    // The end of a partition is known when a fetch comes back empty: what a scan waits for.
    {"fetch.wait.max.ms", "10"},
    {"queued.max.messages.kbytes", "32768"},
    {"fetch.queue.backoff.ms", "5"},
}};

constexpr std::array<std::pair<const char*, const char*>, 6> kProducer = {{
    // A flush sends at once; until then a batch may fill.
    {"linger.ms", "5"},
    {"batch.num.messages", "10000"},
    {"queue.buffering.max.messages", "1000000"},
    // The topic's own limit decides, not the client's.
    {"message.max.bytes", "104857600"},
    // A request never borrows a payload: an abort may return while it is still being sent.
    {"message.copy.max.bytes", "104857600"},
    {"retry.backoff.max.ms", "200"},
}};

// The answer to one fetch is as large as the queue at most (fetch.max.bytes follows it), and no
// partition's share of it so large that a few fill the queue.
void PutPrefetch(const LogMemory& memory, std::map<std::string, std::string>* properties) {
  if (memory.prefetch_bytes == 0) return;
  constexpr std::int64_t kPartitionFetch = 256 << 10;
  constexpr std::int64_t kLeastQueueKib = 1024;  // Of a record of the default size limit.
  (*properties)["queued.max.messages.kbytes"] =
      std::to_string(std::max(kLeastQueueKib, memory.prefetch_bytes >> 10));
  (*properties)["fetch.message.max.bytes"] =
      std::to_string(std::min(kPartitionFetch, memory.prefetch_bytes / 16));
}

// The queue of a producer never holds more than the unit at hand and, after an abort, what is left
// of it until its delivery reports are served. One record may exceed a unit alone.
void PutWriteQueue(const LogMemory& memory, std::map<std::string, std::string>* properties) {
  if (memory.unit_bytes == 0) return;
  constexpr std::int64_t kLeastKib = std::int64_t{256} << 10;  // Two of the largest outcomes.
  constexpr std::int64_t kMostKib = 2'097'151;                 // The client's own bound.
  (*properties)["queue.buffering.max.kbytes"] =
      std::to_string(std::clamp(2 * (memory.unit_bytes >> 10), kLeastKib, kMostKib));
  (*properties)["queue.buffering.max.messages"] = std::to_string(2 * memory.unit_records);
}

template <std::size_t N>
void Put(const std::array<std::pair<const char*, const char*>, N>& values,
         std::map<std::string, std::string>* properties) {
  for (const auto& [name, value] : values) (*properties)[name] = value;
}

void PutDefaults(const ClientSpec& spec, std::map<std::string, std::string>* properties) {
  Put(kCommon, properties);
  switch (spec.role) {
    case ClientRole::kGroupConsumer:
      Put(kConsumer, properties);
      PutPrefetch(spec.memory, properties);
      return;
    case ClientRole::kReader:
      Put(kReader, properties);
      return;
    case ClientRole::kFollower:
      Put(kReader, properties);
      (*properties)["fetch.wait.max.ms"] = "500";
      return;
    case ClientRole::kTransactionalProducer:
      Put(kProducer, properties);
      PutWriteQueue(spec.memory, properties);
      // Records of a transaction gather anyway while their partitions are registered with it.
      (*properties)["linger.ms"] = "0";
      // AddPartitionsToTxn and AddOffsetsToTxn answer CONCURRENT_TRANSACTIONS while the markers of
      // the last transaction are written; the default of 100 ms would be slept through at every
      // other commit.
      (*properties)["retry.backoff.ms"] = "1";
      return;
    case ClientRole::kProducer:
      Put(kProducer, properties);
      PutWriteQueue(spec.memory, properties);
      return;
    case ClientRole::kPatientProducer:
      Put(kProducer, properties);
      PutWriteQueue(spec.memory, properties);
      // One that is given up may have been written or not, and nobody can find out.
      (*properties)["message.timeout.ms"] = "0";
      return;
    case ClientRole::kAdmin:
      return;
  }
}

void PutDecided(const KafkaOptions& options, const ClientSpec& spec,
                std::map<std::string, std::string>* properties) {
  (*properties)["bootstrap.servers"] = options.brokers;
  const bool producer = spec.role == ClientRole::kProducer ||
                        spec.role == ClientRole::kPatientProducer ||
                        spec.role == ClientRole::kTransactionalProducer;
  const bool reader = spec.role == ClientRole::kReader || spec.role == ClientRole::kFollower ||
                      spec.role == ClientRole::kGroupConsumer;
  const auto put = [&](std::string_view name) {
    const Decided& decided = *FindDecided(name);
    const std::string key(name);
    if (decided.unsafe_may && options.properties.contains(key)) return;  // Checked and let through.
    (*properties)[key] = std::string(decided.value);
  };
  if (producer) {
    put("enable.idempotence");
    put("partitioner");
    if (!options.properties.contains("request.required.acks")) put("acks");
  }
  if (reader) {
    put("enable.auto.commit");
    put("enable.auto.offset.store");
    put("enable.partition.eof");
    put("allow.auto.create.topics");
    put("isolation.level");
    put("check.crcs");
  }
  if (spec.role == ClientRole::kGroupConsumer) {
    (*properties)["group.id"] = spec.group;
    if (!options.instance_id.empty()) (*properties)["group.instance.id"] = options.instance_id;
    if (IsSupervisedMember(options)) {
      (*properties)["group.instance.id"] = options.supervised_member;
    }
    // With the protocol of KIP-848 the broker assigns; naming a strategy is an error there.
    if (!BrokerAssigns(options)) {
      put("partition.assignment.strategy");
      // The partitions of a worker that died wait this long for another; a live one beats on a
      // thread that nothing blocks. It must outlast a transaction. The broker decides it in its own
      // protocol.
      if (!options.properties.contains("session.timeout.ms")) {
        (*properties)["session.timeout.ms"] = "20000";
      }
      // Others hear of a worker that joins or leaves with their next beat, and partitions on the
      // move wait for it: measured, up to 3 s with the default of three seconds.
      if (!options.properties.contains("heartbeat.interval.ms")) {
        (*properties)["heartbeat.interval.ms"] = "500";
      }
    }
  }
  if (spec.role == ClientRole::kTransactionalProducer) {
    const std::string timeout = std::to_string(spec.transaction_timeout.count());
    (*properties)["transactional.id"] = spec.transactional_id;
    (*properties)["transaction.timeout.ms"] = timeout;
    // A record that is not delivered in the life of its transaction is of no use any more.
    (*properties)["message.timeout.ms"] = timeout;
  }
}

// librdkafka knows a name when it takes some value of it or says that the value is wrong.
Status CheckKnown(const std::string& name, const std::string& value) {
  char text[512];
  const ConfPtr scratch(rd_kafka_conf_new());
  const rd_kafka_conf_res_t result =
      rd_kafka_conf_set(scratch.get(), name.c_str(), value.c_str(), text, sizeof text);
  if (result == RD_KAFKA_CONF_OK) return {};
  return {StatusCode::kConfiguration, fmt::format("kafka.properties.{}: {}", name, text)};
}

}  // namespace

Status CheckProperties(const KafkaOptions& options, Millis transaction_timeout,
                       std::vector<std::string>* warnings) {
  for (const auto& [name, value] : options.properties) {
    MILLRACE_RETURN_IF_ERROR(CheckKnown(name, value));
    const Decided* const decided = FindDecided(name);
    if (decided == nullptr || (!decided->value.empty() && SameValue(*decided, value))) continue;
    if (!decided->unsafe_may || !options.allow_unsafe) return Refused(name, value, *decided);
    warnings->push_back(
        fmt::format("{}={} instead of {}: {}", name, value, decided->value, decided->instead));
  }
  const auto session = IntegerOf(options.properties, "session.timeout.ms");
  if (session.has_value() && *session <= transaction_timeout.count()) {
    return {StatusCode::kConfiguration,
            fmt::format("kafka.properties.session.timeout.ms={} must be more than "
                        "delivery.transaction_timeout ({} ms): a partition must not move while its "
                        "last owner's transaction can still commit",
                        *session, transaction_timeout.count())};
  }
  return {};
}

bool IsSupervisedMember(const KafkaOptions& options) {
  return !options.supervised_member.empty() && options.instance_id.empty() &&
         !BrokerAssigns(options);
}

std::map<std::string, std::string> ClientProperties(const KafkaOptions& options,
                                                    const ClientSpec& spec) {
  std::map<std::string, std::string> properties;
  PutDefaults(spec, &properties);
  for (const auto& [name, value] : options.properties) properties[name] = value;
  PutDecided(options, spec, &properties);
  return properties;
}

Result<ConfPtr> BuildConf(const KafkaOptions& options, const ClientSpec& spec,
                          ClientEvents* events) {
  ConfPtr conf(rd_kafka_conf_new());
  char text[512];
  for (const auto& [name, value] : ClientProperties(options, spec)) {
    if (rd_kafka_conf_set(conf.get(), name.c_str(), value.c_str(), text, sizeof text) !=
        RD_KAFKA_CONF_OK) {
      return Status(StatusCode::kConfiguration, fmt::format("kafka.properties.{}: {}", name, text));
    }
  }
  events->Register(conf.get());
  return conf;
}

Result<ClientPtr> NewClient(rd_kafka_type_t type, ConfPtr conf, const ClientEvents& events) {
  char text[512];
  // Tokens of OAUTHBEARER are renewed on the client's own thread: not every client of ours is
  // polled all the time.
  rd_kafka_conf_enable_sasl_queue(conf.get(), 1);
  rd_kafka_t* const client = rd_kafka_new(type, conf.get(), text, sizeof text);
  if (client == nullptr) {
    return Status(StatusCode::kConfiguration,
                  fmt::format("the Kafka {} cannot be set up: {}", events.client(), text));
  }
  static_cast<void>(conf.release());  // Now the client's.
  ClientPtr owned(client);
  const ErrorPtr error(rd_kafka_sasl_background_callbacks_enable(client));
  const bool has_tokens =
      error == nullptr || rd_kafka_error_code(error.get()) != RD_KAFKA_RESP_ERR__NOT_CONFIGURED;
  if (has_tokens) {
    MILLRACE_RETURN_IF_ERROR(StatusOf(error.get(), "renewing tokens in the background"));
  }
  return owned;
}

}  // namespace millrace::kafka
