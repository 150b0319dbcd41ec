#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "app/command.h"
#include "app/local_topics.h"
#include "app/text_table.h"
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

struct Created {
  TopicSpec spec;
  const char* state = "created";
  std::int32_t found_partitions = 0;  // Of the topic that is there now.
};

void PrintCreated(const CommandContext& context, const std::vector<Created>& topics) {
  if (context.output == OutputFormat::kJson) {
    std::string out;
    JsonWriter json(out);
    json.BeginArray();
    for (const Created& topic : topics) {
      json.BeginObject().Member("topic", topic.spec.name).Member("state", topic.state);
      json.Member("partitions", topic.found_partitions);
      json.Member("wanted_partitions", topic.spec.partitions).EndObject();
    }
    json.EndArray();
    fmt::print("{}\n", out);
    return;
  }
  TextTable table({{.name = "TOPIC"},
                   {.name = "PARTITIONS", .right = true},
                   {.name = "RETENTION"},
                   {.name = "CLEANUP"},
                   {.name = "STATE"}});
  for (const Created& topic : topics) {
    table.Add({topic.spec.name, std::to_string(topic.found_partitions), RetentionText(topic.spec),
               CleanupName(topic.spec.cleanup), topic.state});
  }
  fmt::print("{}", table.Take());
}

int CreateTopics(CommandContext& context, double scale) {
  auto log = context.OpenLog();
  if (!log.ok()) return Fail(context.command, log.status());
  const auto existing = (*log)->DescribeTopics({});
  if (!existing.ok()) return Fail(context.command, existing.status());
  std::vector<Created> topics;
  for (const TopicSpec& spec : ContractTopics(context.options.transport.topics, scale)) {
    Created topic{.spec = spec, .found_partitions = spec.partitions};
    const auto found = std::find_if(existing->begin(), existing->end(), [&](const TopicInfo& info) {
      return info.spec.name == spec.name;
    });
    if (found != existing->end()) {
      topic.spec.retention = found->spec.retention;
      topic.spec.cleanup = found->spec.cleanup;
      topic.found_partitions = found->spec.partitions;
      topic.state = "exists";
    } else if (const Status made = (*log)->CreateTopic(spec);
               made.code() == StatusCode::kAlreadyExists) {
      topic.state = "exists";
    } else if (!made.ok()) {
      return Fail(context.command, made.WithContext("creating topic " + spec.name));
    }
    topics.push_back(topic);
  }
  PrintCreated(context, topics);
  for (const Created& topic : topics) {
    if (topic.found_partitions == topic.spec.partitions) continue;
    fmt::print(stderr,
               "millrace topics create: {} has {} partitions, not the {} asked for; it was left as "
               "it is, for a key would change its partition\n",
               topic.spec.name, topic.found_partitions, topic.spec.partitions);
  }
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
  auto committed = log.CommittedOffsets(group, info.spec.name);
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

void PrintTopicsJson(const std::string& group, const std::vector<DescribedTopic>& topics) {
  std::string out;
  JsonWriter json(out);
  json.BeginArray();
  for (const DescribedTopic& topic : topics) {
    json.BeginObject().Member("topic", topic.spec.name).Member("records", topic.records);
    json.Member("cleanup", CleanupName(topic.spec.cleanup));
    json.Member("retention_ms", topic.spec.retention.count());
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

void PrintTopics(const std::string& group, const std::vector<DescribedTopic>& topics) {
  TextTable table({{.name = "TOPIC"},
                   {.name = "PARTITIONS", .right = true},
                   {.name = "RECORDS", .right = true},
                   {.name = "RETENTION"},
                   {.name = "CLEANUP"},
                   {.name = fmt::format("COMMITTED BY {}", group), .right = true},
                   {.name = "LAG", .right = true}});
  for (const DescribedTopic& topic : topics) {
    table.Add({topic.spec.name, std::to_string(topic.partitions.size()), Grouped(topic.records),
               RetentionText(topic.spec), CleanupName(topic.spec.cleanup),
               topic.has_committed ? Grouped(topic.committed) : "-",
               topic.has_committed ? Grouped(topic.lag) : "-"});
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

int DescribeTopics(CommandContext& context, const DescribeFlags& flags) {
  auto log = OpenExistingLog(context);
  if (!log.ok()) return Fail(context.command, log.status());
  const auto infos = (*log)->DescribeTopics({});
  if (!infos.ok()) return Fail(context.command, infos.status());
  const std::string& group = context.options.transport.group;
  std::vector<DescribedTopic> topics;
  const auto wanted = [&](const std::string& name) {
    return flags.names.empty() ||
           std::find(flags.names.begin(), flags.names.end(), name) != flags.names.end();
  };
  for (const TopicInfo& info : *infos) {
    if (!wanted(info.spec.name)) continue;
    auto topic = DescribeTopic(**log, info, group);
    if (!topic.ok()) return Fail(context.command, topic.status());
    topics.push_back(std::move(topic).value());
  }
  if (context.output == OutputFormat::kJson) {
    PrintTopicsJson(group, topics);
  } else if (flags.partitions) {
    PrintPartitions(group, topics);
  } else {
    PrintTopics(group, topics);
  }
  int code = kExitOk;
  for (const std::string& name : flags.names) {
    if (std::any_of(topics.begin(), topics.end(),
                    [&](const DescribedTopic& t) { return t.spec.name == name; })) {
      continue;
    }
    code = Fail(context.command, {StatusCode::kNotFound, "topic " + name + " does not exist"});
  }
  if (infos->empty()) {
    fmt::print(stderr, "this log has no topics yet: make them with `millrace topics create`\n");
  }
  return code;
}

}  // namespace

void RegisterTopics(CLI::App& root, CommandTable& table) {
  CLI::App* const topics = root.add_subcommand("topics", "Create and describe topics");
  topics->require_subcommand(1);

  CLI::App* const create = topics->add_subcommand(
      "create",
      "Create the topics that Millrace uses. Requests, results, dead letters and model events, "
      "with "
      "their partitions, retention and cleanup; those that exist are left as they are");
  auto scale = std::make_shared<double>(1.0);
  create
      ->add_option("--partitions-scale", *scale,
                   "Multiplies the partition counts, rounded up; for small machines")
      ->type_name("FACTOR")
      ->check(CLI::Range(0.001, 1.0))
      ->capture_default_str();
  create->footer(
      "Examples:\n"
      "  millrace topics create --data ./log\n"
      "  millrace topics create --data ./log --partitions-scale 0.125\n"
      "  millrace topics create --data ./log -s topics.requests=scoring.requests");
  table.commands.emplace_back(
      create, [scale](CommandContext& context) { return CreateTopics(context, *scale); });

  CLI::App* const describe = topics->add_subcommand(
      "describe", "Show topics, what they hold, and how far a group has read them");
  auto flags = std::make_shared<DescribeFlags>();
  describe->add_option("topic", flags->names, "Only these topics");
  describe->add_flag("--partitions", flags->partitions, "One line for each partition");
  describe->footer(
      "Examples:\n"
      "  millrace topics describe --data ./log\n"
      "  millrace topics describe --data ./log --partitions inference.requests\n"
      "  millrace topics describe --data ./log -g scoring -o json");
  table.commands.emplace_back(
      describe, [flags](CommandContext& context) { return DescribeTopics(context, *flags); });
}

}  // namespace millrace
