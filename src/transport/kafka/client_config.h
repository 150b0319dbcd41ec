// ClientConfig: what each client of librdkafka is told, and what a user may tell it.
//
// Three layers, each over the one before: our defaults (with their reasons), the user's
// kafka.properties, and what Millrace has to decide because a guarantee rests on it. A property of
// the last kind with another value is refused with the setting to use instead; one that merely
// weakens a guarantee is let through by kafka.allow_unsafe, with a warning.
// Internal to transport/kafka.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "transport/kafka/client_events.h"
#include "transport/kafka/handles.h"
#include "transport/options.h"

namespace millrace::kafka {

enum class ClientRole {
  kGroupConsumer,
  kTransactionalProducer,
  kProducer,
  kPatientProducer,  // Its records wait for the cluster for as long as it takes.
  kReader,
  kFollower,  // A reader that is there for long, of little.
  kAdmin,
};

struct ClientSpec {
  ClientRole role = ClientRole::kAdmin;
  std::string group;             // kGroupConsumer.
  std::string transactional_id;  // kTransactionalProducer.
  Millis transaction_timeout{0};
  LogMemory memory = {};
};

// Refuses properties that Millrace has to decide, and names that librdkafka does not know.
// `warnings`: what kafka.allow_unsafe let through.
Status CheckProperties(const KafkaOptions& options, Millis transaction_timeout,
                       std::vector<std::string>* warnings);

// Whether this worker's place in the group is kept for the next one of its supervisor: one that
// crashed comes back to its partitions at once. One that closes leaves nevertheless. Not in the
// protocol of the broker, which refuses the name until the dead member's session has ended, nor
// where the user has chosen a name.
bool IsSupervisedMember(const KafkaOptions& options);

// Every property of a client as it will be set. REQUIRES: CheckProperties was content.
std::map<std::string, std::string> ClientProperties(const KafkaOptions& options,
                                                    const ClientSpec& spec);

// A configuration with the callbacks of `events`, which must outlive the client.
Result<ConfPtr> BuildConf(const KafkaOptions& options, const ClientSpec& spec,
                          ClientEvents* events);

// A client of its own threads. `conf` is consumed.
Result<ClientPtr> NewClient(rd_kafka_type_t type, ConfPtr conf, const ClientEvents& events);

}  // namespace millrace::kafka
