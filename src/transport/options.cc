#include "transport/options.h"

namespace millrace {
namespace {

void DescribeKafkaProperty(SettingSet& set, std::string& value) {
  set.String(
      "", &value,
      "Property of librdkafka, by its own name, straight to its clients; also -X name=value. "
      "One that Millrace has to decide is refused with the setting to use instead.");
}

}  // namespace

void DescribeSettings(SettingSet& set, TransportOptions& options) {
  set.Enum("transport", &options.kind, {"kafka", "local"},
           "Which log carries requests and outcomes: `kafka`, a cluster; `local`, one folder of "
           "this machine and no broker.");
  set.String("kafka.brokers", &options.kafka.brokers,
             "Addresses of the cluster to start from, host:port, separated by commas.");
  set.String("kafka.group", &options.group,
             "Consumer group of the workers, on either log; two groups each answer every request.");
  set.String(
      "kafka.slot", &options.kafka.slot,
      "Name of this worker's place in the group, stable over restarts: its transactions are "
      "called <group>-<slot>, and a new worker in a slot ends the old one's. Empty: the host "
      "name and the first number that no other worker of this host holds.");
  set.String(
      "kafka.instance_id", &options.kafka.instance_id,
      "Static membership (group.instance.id): a restart within the session timeout keeps its "
      "partitions. Empty: a dynamic member, whose partitions move at once when it leaves.");
  set.Bool("kafka.allow_unsafe", &options.kafka.allow_unsafe,
           "Take properties that weaken the guarantees, with a warning, instead of refusing them; "
           "also --unsafe.");
  set.Map("kafka.properties", &options.kafka.properties, DescribeKafkaProperty);
  set.String("topics.requests", &options.topics.requests,
             "Topic that the worker reads requests from.");
  set.String("topics.results", &options.topics.results, "Topic that results are written to.");
  set.String("topics.dlq", &options.topics.dlq,
             "Topic that dead letters, requests that cannot be answered, are written to.");
  set.String("topics.events", &options.topics.events,
             "Topic of model events (promote, roll back, retire, canary, shadow).");
  set.String("topics.status", &options.topics.status,
             "Topic that workers write the state of each of their models to.");
  set.String("topics.shadow", &options.topics.shadow,
             "Topic of the results of shadow versions, with how far they are from those given.");
  set.String("local.dir", &options.local.dir,
             "Folder of the local log; created when missing. Must be on a disk of this machine, "
             "not on a network share.");
  set.Enum(
      "local.durability", &options.local.durability, {"full", "normal"},
      "What a commit to the local log survives. `full`: power loss, every commit is synced to "
      "the disk. `normal`: a crash or kill -9 of the process; power loss or a kernel crash may "
      "lose the last commits, whole ones, and never tears one.");
}

}  // namespace millrace
