#include "transport/local/membership.h"

#include <fmt/format.h>

#include "transport/local/writer.h"

namespace millrace::local {
namespace {

constexpr int kCacheKib = 1024;

Status FindTopics(Connection& connection, const std::string& dir, const TopicOptions& topics,
                  Membership& membership) {
  const std::pair<const std::string&, TopicRow&> wanted[] = {
      {topics.requests, membership.requests},
      {topics.results, membership.results},
      {topics.dlq, membership.dead_letters},
  };
  for (const auto& [name, row] : wanted) {
    auto found = FindTopic(connection, name, dir);
    if (!found.ok()) return found.status();
    row = std::move(*found);
  }
  return {};
}

Status OpenGeneration(Connection& connection, Membership& membership) {
  Statement group;
  MILLRACE_RETURN_IF_ERROR(connection.Prepare(
      "INSERT INTO groups(name, generation) VALUES(?1, 1) "
      "ON CONFLICT(name) DO UPDATE SET generation = generation + 1 RETURNING id, generation",
      &group));
  group.BindText(1, membership.group);
  const int code = group.Step();
  if (code != SQLITE_ROW) return connection.Error(code);
  membership.group_id = group.Int(0);
  membership.generation = group.Int(1);
  group.Reset();

  Statement positions;
  MILLRACE_RETURN_IF_ERROR(
      connection.Prepare("INSERT INTO committed(group_id, partition_id, position) "
                         "SELECT ?1, id, start FROM partitions WHERE topic = ?2 "
                         "ON CONFLICT DO NOTHING",
                         &positions));
  positions.Bind(1, membership.group_id);
  positions.Bind(2, membership.requests.id);
  return connection.Run(positions);
}

}  // namespace

Result<std::shared_ptr<const Membership>> Join(const LogContext& context, const std::string& group,
                                               const TopicOptions& topics) {
  auto membership = std::make_shared<Membership>();
  membership->group = group;
  MILLRACE_RETURN_IF_ERROR(membership->lock.Acquire(context.dir, group));
  Writer writer(context);
  MILLRACE_RETURN_IF_ERROR(writer.Open(context.durability, kCacheKib));
  MILLRACE_RETURN_IF_ERROR(FindTopics(writer.connection(), context.dir, topics, *membership));
  MILLRACE_RETURN_IF_ERROR(writer.Begin());
  MILLRACE_RETURN_IF_ERROR(OpenGeneration(writer.connection(), *membership));
  MILLRACE_RETURN_IF_ERROR(writer.Commit());
  return std::shared_ptr<const Membership>(std::move(membership));
}

Status Fenced(const Membership& membership) {
  return {StatusCode::kFenced,
          fmt::format("a newer worker of group '{}' took this one's place in the local log: stop "
                      "this one, or give one of them another -g",
                      membership.group)};
}

}  // namespace millrace::local
