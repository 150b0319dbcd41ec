#include "app/bench/bench_ground.h"

#include <unistd.h>

#include <system_error>
#include <vector>

#include "app/run_names.h"
#include "app/topic_setup.h"
#include "transport/local/local_log.h"

namespace millrace {
namespace {

constexpr std::int32_t kClusterPartitions = 8;

std::vector<TopicSpec> Topics(const AllOptions& options, const BenchPlan& plan,
                              std::int32_t partitions) {
  const TopicOptions& names = options.transport.topics;
  std::vector<TopicSpec> specs = ContractTopics(names, plan.partitions_scale);
  for (TopicSpec& spec : specs) {
    if (partitions > 0 && (spec.name == names.requests || spec.name == names.results)) {
      spec.partitions = partitions;
    }
  }
  return specs;
}

}  // namespace

Result<std::unique_ptr<BenchGround>> BenchGround::Make(const CommandContext& context,
                                                       const BenchPlan& plan) {
  std::unique_ptr<BenchGround> ground(new BenchGround(context.options));
  ground->options_.http.admin_listen.clear();
  const bool cluster =
      context.options.transport.kind == TransportKind::kKafka && IsGiven(context, "transport");
  MILLRACE_RETURN_IF_ERROR(cluster ? ground->OpenCluster(context, plan) : ground->OpenFolder(plan));
  return ground;
}

BenchGround::~BenchGround() {
  log_.reset();
  std::error_code ignored;
  if (!folder_.empty()) std::filesystem::remove_all(folder_, ignored);
}

Status BenchGround::OpenFolder(const BenchPlan& plan) {
  const std::string chosen = options_.transport.local.dir;
  std::error_code ignored;
  folder_ = chosen == LocalLogOptions().dir ? std::filesystem::temp_directory_path() /
                                                  ("millrace-bench-" + std::to_string(::getpid()))
                                            : std::filesystem::path(chosen) / "bench";
  std::filesystem::remove_all(folder_, ignored);
  std::filesystem::create_directories(folder_, ignored);
  options_.transport.kind = TransportKind::kLocal;
  options_.transport.local.dir = folder_.string();
  Result<std::unique_ptr<Log>> log = OpenLocalLog(options_.transport.local);
  if (!log.ok()) return log.status();
  log_ = std::move(log).value();
  return MakeMissingTopics(*log_, Topics(options_, plan, plan.partitions));
}

Status BenchGround::OpenCluster(const CommandContext& context, const BenchPlan& plan) {
  const std::string name = UniqueName("millrace-bench");
  if (!IsGiven(context, "kafka.group")) options_.transport.group = name;
  options_.transport.topics = TopicsNamed(plan.topic_prefix.empty() ? name : plan.topic_prefix);
  Result<std::unique_ptr<Log>> log = context.OpenLog();
  if (!log.ok()) return log.status();
  log_ = std::move(log).value();
  const std::int32_t partitions = plan.partitions > 0 ? plan.partitions : kClusterPartitions;
  return MakeMissingTopics(*log_, Topics(options_, plan, partitions));
}

}  // namespace millrace
