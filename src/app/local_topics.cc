#include "app/local_topics.h"

#include <fmt/format.h>

#include <cstdio>
#include <filesystem>
#include <set>
#include <string>
#include <system_error>

namespace millrace {

Status EnsureLocalTopics(Log& log, const AllOptions& options) {
  if (options.transport.kind != TransportKind::kLocal) return Status::Ok();
  const auto topics = log.DescribeTopics({});
  if (!topics.ok()) return topics.status();
  std::set<std::string> existing;
  for (const TopicInfo& topic : *topics) existing.insert(topic.spec.name);
  for (const TopicSpec& spec : ContractTopics(options.transport.topics, 1.0)) {
    if (existing.contains(spec.name)) continue;
    const Status made = log.CreateTopic(spec);
    if (made.code() == StatusCode::kAlreadyExists) continue;  // Another process was quicker.
    if (!made.ok()) return made.WithContext("creating topic " + spec.name);
    fmt::print(stderr, "created topic {} with {} partitions in {}\n", spec.name, spec.partitions,
               options.transport.local.dir);
  }
  return Status::Ok();
}

Result<std::unique_ptr<Log>> OpenExistingLog(const CommandContext& context) {
  const TransportOptions& transport = context.options.transport;
  std::error_code ignored;
  if (transport.kind == TransportKind::kLocal &&
      !std::filesystem::exists(transport.local.dir, ignored)) {
    return Status(StatusCode::kNotFound,
                  fmt::format("there is no local log in {}: name its folder with --data, or make "
                              "one with `millrace topics create` or `millrace send`",
                              transport.local.dir));
  }
  return context.OpenLog();
}

}  // namespace millrace
