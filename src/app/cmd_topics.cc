#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "app/command.h"
#include "app/local_topics.h"
#include "app/log_scan.h"
#include "app/text_table.h"
#include "app/topic_setup.h"
#include "codec/json_writer.h"

namespace millrace {
namespace {

const char* CleanupName(CleanupPolicy cleanup) {
  return cleanup == CleanupPolicy::kCompact ? "compact" : "delete";
}

std::string RetentionText(const TopicSpec& spec) {
  if (spec.cleanup == CleanupPolicy::kCompact) return "-";
  return spec.retention.count() == 0 ? "for ever" : FormatDuration(spec.retention);
}

void AppendReplicaColumns(std::vector<TextTable::Column>& columns) {
  columns.push_back({.name = "REPLICAS", .right = true});
  columns.push_back({.name = "MIN ISR", .right = true});
}

void AppendReplicas(const TopicSpec& spec, std::vector<std::string>& row) {
  row.push_back(std::to_string(spec.replication_factor));
  row.push_back(std::to_string(spec.min_insync_replicas));
}

// What production asks of a topic on a cluster.
constexpr std::int32_t kAdvisedReplicas = 3;
constexpr std::int32_t kAdvisedMinInsync = 2;

bool OnKafka(const CommandContext& context) {
  return context.options.transport.kind == TransportKind::kKafka;
}

// What `spec` lacks for production, for people: "replicas < 3".
std::vector<std::string> Shortfalls(const TopicSpec& spec) {
  std::vector<std::string> found;
  if (spec.replication_factor < kAdvisedReplicas) {
    found.push_back(fmt::format("replicas < {}", kAdvisedReplicas));
  }
  if (spec.min_insync_replicas < kAdvisedMinInsync) {
    found.push_back(fmt::format("min ISR < {}", kAdvisedMinInsync));
  }
  return found;
}

struct CreateFlags {
  double scale = 1.0;
  std::int32_t replication_factor = 0;  // 0: not given; likewise below.
  std::int32_t min_isr = 0;
  bool production = false;
};

struct Created {
  TopicSpec wanted;
  TopicSpec found;  // The topic that is there now.
  bool existed = false;
};

void PrintCreated(const CommandContext& context, const std::vector<Created>& topics) {
  const bool kafka = OnKafka(context);
  if (context.output == OutputFormat::kJson) {
    std::string out;
    JsonWriter json(out);
    json.BeginArray();
    for (const Created& topic : topics) {
      json.BeginObject().Member("topic", topic.wanted.name);
      json.Member("state", topic.existed ? "exists" : "created");
      json.Member("partitions", topic.found.partitions);
      json.Member("wanted_partitions", topic.wanted.partitions);
      if (kafka) {
        json.Member("replication_factor", topic.found.replication_factor);
        json.Member("min_insync_replicas", topic.found.min_insync_replicas);
      }
      json.EndObject();
    }
    json.EndArray();
    fmt::print("{}\n", out);
    return;
  }
  std::vector<TextTable::Column> columns = {{.name = "TOPIC"},
                                            {.name = "PARTITIONS", .right = true}};
  if (kafka) AppendReplicaColumns(columns);
  for (const char* name : {"RETENTION", "CLEANUP", "STATE"}) columns.push_back({.name = name});
  TextTable table(std::move(columns));
  for (const Created& topic : topics) {
    std::vector<std::string> row = {topic.wanted.name, std::to_string(topic.found.partitions)};
    if (kafka) AppendReplicas(topic.found, row);
    row.insert(row.end(), {RetentionText(topic.found), CleanupName(topic.found.cleanup),
                           topic.existed ? "exists" : "created"});
    table.Add(std::move(row));
  }
  fmt::print("{}", table.Take());
}

Status CheckFlags(const CommandContext& context, const CreateFlags& flags) {
  const auto wrong = [](std::string message) {
    return Status(StatusCode::kInvalidArgument, std::move(message));
  };
  if (!OnKafka(context)) {
    if (flags.production || flags.replication_factor > 0 || flags.min_isr > 0) {
      return wrong(
          "--production, --replication-factor and --min-isr are for a Kafka cluster: the local log "
          "keeps one copy, in its folder");
    }
    return Status::Ok();
  }
  if (flags.min_isr > std::max(1, flags.replication_factor)) {
    return wrong(fmt::format("--min-isr {} needs --replication-factor {} or more", flags.min_isr,
                             flags.min_isr));
  }
  return Status::Ok();
}

// The contract's topics as the flags want them.
std::vector<TopicSpec> WantedTopics(const CommandContext& context, const CreateFlags& flags) {
  std::vector<TopicSpec> specs = ContractTopics(context.options.transport.topics, flags.scale);
  for (TopicSpec& spec : specs) {
    if (flags.production) {
      spec.replication_factor = kAdvisedReplicas;
      spec.min_insync_replicas = kAdvisedMinInsync;
      continue;
    }
    spec.replication_factor = std::max(1, flags.replication_factor);
    // One copy may be away without stopping who writes.
    spec.min_insync_replicas =
        flags.min_isr > 0 ? flags.min_isr : std::max(1, spec.replication_factor - 1);
  }
  return specs;
}

Status WhyNotCreated(const Status& status, const TopicSpec& spec) {
  if (status.code() == StatusCode::kInvalidArgument && spec.replication_factor > 1) {
    return {status.code(),
            fmt::format("creating topic {}: {}; {} replicas need {} brokers that answer", spec.name,
                        status.message(), spec.replication_factor, spec.replication_factor)};
  }
  return status.WithContext("creating topic " + spec.name);
}

// What is not as asked for, on stderr.
void PrintNotes(const CommandContext& context, const CreateFlags& flags,
                const std::vector<Created>& topics) {
  const auto left_alone = [](const Created& topic, std::int32_t found, const char* of,
                             std::int32_t wanted, const char* why) {
    fmt::print(stderr,
               "millrace topics create: {} has {} {}, not the {} asked for; it was left as it is{}"
               "\n",
               topic.wanted.name, found, of, wanted, why);
  };
  for (const Created& topic : topics) {
    if (topic.found.partitions != topic.wanted.partitions) {
      left_alone(topic, topic.found.partitions, "partitions", topic.wanted.partitions,
                 ", for a key would change its partition");
    }
    if (OnKafka(context) && topic.found.replication_factor < topic.wanted.replication_factor) {
      left_alone(topic, topic.found.replication_factor, "replicas", topic.wanted.replication_factor,
                 "");
    }
  }
  const bool one_copy = std::any_of(topics.begin(), topics.end(), [](const Created& topic) {
    return !topic.existed && topic.wanted.replication_factor == 1;
  });
  if (OnKafka(context) && flags.replication_factor == 0 && one_copy) {
    fmt::print(stderr,
               "millrace topics create: made with replication factor 1: what is in them is lost "
               "with its broker; --production makes three copies\n");
  }
}

int CreateTopics(CommandContext& context, const CreateFlags& flags) {
  if (const Status wrong = CheckFlags(context, flags); !wrong.ok()) {
    return Fail(context.command, wrong);
  }
  auto log = context.OpenLog();
  if (!log.ok()) return Fail(context.command, log.status());
  const std::vector<TopicSpec> wanted = WantedTopics(context, flags);
  std::vector<std::string> names;
  for (const TopicSpec& spec : wanted) names.push_back(spec.name);
  const auto existing = (*log)->DescribeTopics(names);
  if (!existing.ok()) return Fail(context.command, existing.status());
  std::vector<Created> topics;
  for (const TopicSpec& spec : wanted) {
    Created topic{.wanted = spec, .found = spec};
    const auto found = std::find_if(existing->begin(), existing->end(), [&](const TopicInfo& info) {
      return info.spec.name == spec.name;
    });
    if (found != existing->end()) {
      topic.found = found->spec;
      topic.existed = true;
    } else if (const Status made = (*log)->CreateTopic(spec);
               made.code() == StatusCode::kAlreadyExists) {
      topic.existed = true;
    } else if (!made.ok()) {
      return Fail(context.command, WhyNotCreated(made, spec));
    }
    topics.push_back(std::move(topic));
  }
  if (const Status usable = WaitForTopics(**log, names); !usable.ok()) {
    return Fail(context.command, usable);
  }
  PrintCreated(context, topics);
  PrintNotes(context, flags, topics);
  return kExitOk;
}

struct DescribeFlags {
  std::vector<std::string> names;
  bool partitions = false;
};

struct DescribedPartition {
  PartitionInfo info;
  std::int64_t committed = -1;  // Of the group; negative: none.

  std::int64_t records() const { return info.end.value() - info.start.value(); }
  // Records that the group has yet to read. REQUIRES: the group has committed in this topic.
  std::int64_t lag() const {
    return std::max<std::int64_t>(0, info.end.value() - std::max(committed, info.start.value()));
  }
};

struct DescribedTopic {
  TopicSpec spec;
  std::vector<DescribedPartition> partitions;
  bool has_committed = false;
  std::int64_t records = 0;
  std::int64_t committed = 0;
  std::int64_t lag = 0;
};

Result<DescribedTopic> DescribeTopic(Log& log, const TopicInfo& info, const std::string& group) {
  auto committed = CommittedPositions(log, group, info.spec.name);
  if (!committed.ok()) return committed.status();
  DescribedTopic topic;
  topic.spec = info.spec;
  topic.has_committed = !committed->empty();
  for (const PartitionInfo& partition : info.partitions) {
    const auto it = committed->find(partition.partition);
    const DescribedPartition described{
        .info = partition, .committed = it == committed->end() ? -1 : it->second.value()};
    topic.records += described.records();
    topic.committed += std::max<std::int64_t>(0, described.committed);
    topic.lag += described.lag();
    topic.partitions.push_back(described);
  }
  return topic;
}

void PrintTopicsJson(const std::string& group, const std::vector<DescribedTopic>& topics,
                     bool kafka) {
  std::string out;
  JsonWriter json(out);
  json.BeginArray();
  for (const DescribedTopic& topic : topics) {
    json.BeginObject().Member("topic", topic.spec.name).Member("records", topic.records);
    json.Member("cleanup", CleanupName(topic.spec.cleanup));
    json.Member("retention_ms", topic.spec.retention.count());
    if (kafka) {
      json.Member("replication_factor", topic.spec.replication_factor);
      json.Member("min_insync_replicas", topic.spec.min_insync_replicas);
      json.Key("warnings").BeginArray();
      for (const std::string& shortfall : Shortfalls(topic.spec)) json.Value(shortfall);
      json.EndArray();
    }
    if (topic.has_committed) json.Member("group", group).Member("lag", topic.lag);
    json.Key("partitions").BeginArray();
    for (const DescribedPartition& partition : topic.partitions) {
      json.BeginObject().Member("partition", partition.info.partition);
      json.Member("start", partition.info.start.value());
      json.Member("end", partition.info.end.value());
      if (partition.committed >= 0) json.Member("committed", partition.committed);
      if (topic.has_committed) json.Member("lag", partition.lag());
      json.EndObject();
    }
    json.EndArray().EndObject();
  }
  json.EndArray();
  fmt::print("{}\n", out);
}

void PrintTopics(const std::string& group, const std::vector<DescribedTopic>& topics, bool kafka) {
  std::vector<TextTable::Column> columns = {{.name = "TOPIC"},
                                            {.name = "PARTITIONS", .right = true}};
  if (kafka) AppendReplicaColumns(columns);
  columns.insert(columns.end(), {{.name = "RECORDS", .right = true},
                                 {.name = "RETENTION"},
                                 {.name = "CLEANUP"},
                                 {.name = fmt::format("COMMITTED BY {}", group), .right = true},
                                 {.name = "LAG", .right = true}});
  if (kafka) columns.push_back({.name = "BELOW PRODUCTION"});
  TextTable table(std::move(columns));
  for (const DescribedTopic& topic : topics) {
    std::vector<std::string> row = {topic.spec.name, std::to_string(topic.partitions.size())};
    if (kafka) AppendReplicas(topic.spec, row);
    row.insert(row.end(),
               {Grouped(topic.records), RetentionText(topic.spec), CleanupName(topic.spec.cleanup),
                topic.has_committed ? Grouped(topic.committed) : "-",
                topic.has_committed ? Grouped(topic.lag) : "-"});
    if (kafka) row.push_back(fmt::format("{}", fmt::join(Shortfalls(topic.spec), ", ")));
    table.Add(std::move(row));
  }
  fmt::print("{}", table.Take());
}

void PrintPartitions(const std::string& group, const std::vector<DescribedTopic>& topics) {
  TextTable table({{.name = "TOPIC"},
                   {.name = "PARTITION", .right = true},
                   {.name = "START", .right = true},
                   {.name = "END", .right = true},
                   {.name = "RECORDS", .right = true},
                   {.name = fmt::format("COMMITTED BY {}", group), .right = true},
                   {.name = "LAG", .right = true}});
  for (const DescribedTopic& topic : topics) {
    for (const DescribedPartition& p : topic.partitions) {
      table.Add({topic.spec.name, std::to_string(p.info.partition), Grouped(p.info.start.value()),
                 Grouped(p.info.end.value()), Grouped(p.records()),
                 p.committed < 0 ? "-" : Grouped(p.committed),
                 topic.has_committed ? Grouped(p.lag()) : "-"});
    }
  }
  fmt::print("{}", table.Take());
}

// A cluster may carry much else: without names, those of the settings. A local log is all ours.
std::vector<std::string> NamesToDescribe(const CommandContext& context,
                                         const std::vector<std::string>& given) {
  if (!given.empty() || !OnKafka(context)) return given;
  const TopicOptions& topics = context.options.transport.topics;
  return {topics.requests, topics.results, topics.dlq, topics.events, topics.status, topics.shadow};
}

// Tells on stderr which of `names` do not exist; returns the exit code. Not to find one that was
// asked for is a failure.
int ReportMissing(const CommandContext& context, const std::vector<std::string>& names, bool asked,
                  const std::vector<DescribedTopic>& topics) {
  std::vector<std::string> missing;
  for (const std::string& name : names) {
    if (std::none_of(topics.begin(), topics.end(),
                     [&](const DescribedTopic& t) { return t.spec.name == name; })) {
      missing.push_back(name);
    }
  }
  const std::string text =
      fmt::format("{} {} not exist", fmt::join(missing, ", "), missing.size() == 1 ? "does" : "do");
  if (asked && !missing.empty()) return Fail(context.command, {StatusCode::kNotFound, text});
  if (topics.empty()) {
    fmt::print(stderr, "this log has no topics yet: make them with `millrace topics create`\n");
  } else if (!missing.empty()) {
    fmt::print(stderr, "{}: make them with `millrace topics create`\n", text);
  }
  return kExitOk;
}

int DescribeTopics(CommandContext& context, const DescribeFlags& flags) {
  auto log = OpenExistingLog(context);
  if (!log.ok()) return Fail(context.command, log.status());
  const std::vector<std::string> names = NamesToDescribe(context, flags.names);
  const auto infos = (*log)->DescribeTopics(names);
  if (!infos.ok()) return Fail(context.command, infos.status());
  const std::string& group = context.options.transport.group;
  std::vector<DescribedTopic> topics;
  for (const TopicInfo& info : *infos) {
    auto topic = DescribeTopic(**log, info, group);
    if (!topic.ok()) return Fail(context.command, topic.status());
    topics.push_back(std::move(topic).value());
  }
  if (context.output == OutputFormat::kJson) {
    PrintTopicsJson(group, topics, OnKafka(context));
  } else if (flags.partitions) {
    PrintPartitions(group, topics);
  } else {
    PrintTopics(group, topics, OnKafka(context));
  }
  return ReportMissing(context, names, !flags.names.empty(), topics);
}

void RegisterCreate(CLI::App& topics, CommandTable& table) {
  CLI::App* const create = topics.add_subcommand(
      "create",
      "Create the topics that Millrace uses. Requests, results, dead letters and model events, "
      "with "
      "their partitions, retention and cleanup; those that exist are left as they are");
  auto flags = std::make_shared<CreateFlags>();
  CLI::Option* const scale =
      create
          ->add_option("--partitions-scale", flags->scale,
                       "Multiplies the partition counts, rounded up; for small machines")
          ->type_name("FACTOR")
          ->check(CLI::Range(0.001, 1.0))
          ->capture_default_str();
  CLI::Option* const replicas =
      create
          ->add_option("--replication-factor", flags->replication_factor,
                       "Copies of each partition on a Kafka cluster; 1 when it is not given")
          ->type_name("N")
          ->check(CLI::Range(1, 32));
  CLI::Option* const min_isr =
      create
          ->add_option("--min-isr", flags->min_isr,
                       "Copies that must have a record before it counts (min.insync.replicas); one "
                       "less than there are when it is not given")
          ->type_name("N")
          ->check(CLI::Range(1, 32));
  create
      ->add_flag("--production", flags->production,
                 "Replication factor 3, min ISR 2, all partitions; needs three brokers")
      ->excludes(scale)
      ->excludes(replicas)
      ->excludes(min_isr);
  create->footer(
      "Examples:\n"
      "  millrace topics create --data ./log\n"
      "  millrace topics create --data ./log --partitions-scale 0.125\n"
      "  millrace topics create -b broker:9092 --production\n"
      "  millrace topics create -b broker:9092 -s topics.requests=scoring.requests");
  table.commands.emplace_back(
      create, [flags](CommandContext& context) { return CreateTopics(context, *flags); });
}

void RegisterDescribe(CLI::App& topics, CommandTable& table) {
  CLI::App* const describe = topics.add_subcommand(
      "describe", "Show topics, what they hold, and how far a group has read them");
  auto flags = std::make_shared<DescribeFlags>();
  describe->add_option("topic", flags->names,
                       "Only these topics; else those of the settings, all of a local log");
  describe->add_flag("--partitions", flags->partitions, "One line for each partition");
  describe->footer(
      "Examples:\n"
      "  millrace topics describe --data ./log\n"
      "  millrace topics describe --data ./log --partitions inference.requests\n"
      "  millrace topics describe -b broker:9092 -g scoring -o json\n"
      "\n"
      "On a Kafka cluster the records of a topic are its offsets: the marks that end transactions\n"
      "count, too.");
  table.commands.emplace_back(
      describe, [flags](CommandContext& context) { return DescribeTopics(context, *flags); });
}

}  // namespace

void RegisterTopics(CLI::App& root, CommandTable& table) {
  CLI::App* const topics = root.add_subcommand("topics", "Create and describe topics");
  topics->require_subcommand(1);
  RegisterCreate(*topics, table);
  RegisterDescribe(*topics, table);
}

}  // namespace millrace
