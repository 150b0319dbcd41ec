#include "transport/local/local_log.h"

#include <fmt/format.h>
#include <unistd.h>
#include <algorithm>

#include <cstring>
#include <filesystem>
#include <mutex>
#include <system_error>

#include "transport/local/catalog.h"
#include "transport/local/committer.h"
#include "transport/local/log_context.h"
#include "transport/local/maintenance.h"
#include "transport/local/membership.h"
#include "transport/local/producer.h"
#include "transport/local/reader.h"
#include "transport/local/source.h"
#include "transport/local/writer.h"

namespace millrace {
namespace local {
namespace {

constexpr char kDatabaseFile[] = "log.db";
constexpr int kControlCacheKib = 512;

Status MakeFolder(const std::string& dir) {
  std::error_code error;
  std::filesystem::create_directories(dir, error);
  if (error) {
    return {StatusCode::kUnavailable,
            fmt::format("local log: cannot make the folder {}: {}; choose another with --data or "
                        "local.dir",
                        dir, error.message())};
  }
  if (access(dir.c_str(), R_OK | W_OK | X_OK) != 0) {
    return {StatusCode::kUnavailable,
            fmt::format("local log: the folder {} is not writable: {}; make it writable for this "
                        "user, or choose another with --data or local.dir",
                        dir, std::strerror(errno))};
  }
  return {};
}

class LocalLog final : public Log {
 public:
  LocalLog() : maintenance_(context_), control_(context_) { context_.maintenance = &maintenance_; }

  ~LocalLog() override {
    control_.Close();
    maintenance_.Stop();
  }

  Status Open(const LocalLogOptions& options) {
    MILLRACE_RETURN_IF_ERROR(MakeFolder(options.dir));
    context_.dir = options.dir;
    context_.path = (std::filesystem::path(options.dir) / kDatabaseFile).string();
    context_.durability = options.durability;
    auto notifier = Notifier::Open(options.dir);
    if (!notifier.ok()) return notifier.status();
    context_.notifier = std::move(*notifier);
    WriteLock lock;
    MILLRACE_RETURN_IF_ERROR(lock.Open(context_.dir));
    MILLRACE_RETURN_IF_ERROR(lock.Acquire());
    MILLRACE_RETURN_IF_ERROR(control_.Open(context_.durability, kControlCacheKib));
    return EnsureSchema(control_.connection(), context_.path);
  }

  Status CreateTopic(const TopicSpec& spec) override {
    const std::lock_guard<std::mutex> guard(mutex_);
    MILLRACE_RETURN_IF_ERROR(OpenControl());
    Status status = control_.Begin();
    if (status.ok()) status = InsertTopic(control_.connection(), spec);
    if (status.ok()) return control_.Commit();
    control_.Rollback();
    return status;
  }

  Result<std::vector<TopicInfo>> DescribeTopics(const std::vector<std::string>& names) override;
  Result<std::map<std::int32_t, CommittedPosition>> CommittedOffsets(
      const std::string& group, const std::string& topic) override;
  Result<std::vector<std::string>> Groups() override;

  using Log::NewProducer;
  Result<std::unique_ptr<Producer>> NewProducer(Millis) override {
    maintenance_.StartCheckpoints();
    return local::NewProducer(context_);
  }

  using Log::NewReader;
  Result<std::unique_ptr<Reader>> NewReader(ReadPace) override {
    return local::NewReader(context_);
  }

  Result<WorkerLog> OpenWorker(const WorkerLogOptions& options) override {
    if (options.mode == DeliveryMode::kAtLeastOnce) {
      return Status(StatusCode::kConfiguration,
                    "delivery.mode: the local log does not offer at-least-once: exactly-once costs "
                    "nothing more there");
    }
    auto membership = Join(context_, options.group, options.topics);
    if (!membership.ok()) return membership.status();
    auto source = NewSource(context_, *membership, options.memory);
    if (!source.ok()) return source.status();
    auto committer = NewCommitter(context_, *membership, options.mode, options.memory);
    if (!committer.ok()) return committer.status();
    maintenance_.StartRetention();
    WorkerLog worker;
    worker.source = std::move(*source);
    worker.committer = std::move(*committer);
    return worker;
  }

  // A commit of the local log is one atomic step: nothing is ever open.
  Result<std::vector<OpenTransaction>> OpenTransactions(const std::vector<std::string>&) override {
    return std::vector<OpenTransaction>();
  }

 private:
  Status OpenControl() {
    return control_.open() ? Status() : control_.Open(context_.durability, kControlCacheKib);
  }

  LogContext context_;
  Maintenance maintenance_;
  std::mutex mutex_;  // Guards control_.
  Writer control_;
};

Result<std::vector<TopicInfo>> LocalLog::DescribeTopics(const std::vector<std::string>& names) {
  const std::lock_guard<std::mutex> guard(mutex_);
  MILLRACE_RETURN_IF_ERROR(OpenControl());
  auto topics = ReadTopics(control_.connection());
  if (!topics.ok()) return topics.status();
  Statement state;
  MILLRACE_RETURN_IF_ERROR(control_.connection().Prepare(
      "SELECT start, next FROM partitions WHERE topic = ?1 ORDER BY number", &state));
  std::vector<TopicInfo> infos;
  for (TopicRow& topic : *topics) {
    if (!names.empty() && std::find(names.begin(), names.end(), topic.spec.name) == names.end()) {
      continue;
    }
    TopicInfo& info = infos.emplace_back();
    info.spec = std::move(topic.spec);
    state.Bind(1, topic.id);
    int code = SQLITE_OK;
    while ((code = state.Step()) == SQLITE_ROW) {
      const auto number = static_cast<std::int32_t>(info.partitions.size());
      info.partitions.push_back({number, Offset(state.Int(0)), Offset(state.Int(1))});
    }
    state.Reset();
    if (code != SQLITE_DONE) return control_.connection().Error(code);
  }
  return infos;
}

Result<std::map<std::int32_t, CommittedPosition>> LocalLog::CommittedOffsets(
    const std::string& group, const std::string& topic) {
  const std::lock_guard<std::mutex> guard(mutex_);
  MILLRACE_RETURN_IF_ERROR(OpenControl());
  Statement positions;
  MILLRACE_RETURN_IF_ERROR(control_.connection().Prepare(
      "SELECT p.number, c.position, c.note FROM committed AS c "
      "JOIN groups AS g ON g.id = c.group_id JOIN partitions AS p ON p.id = c.partition_id "
      "JOIN topics AS t ON t.id = p.topic WHERE g.name = ?1 AND t.name = ?2",
      &positions));
  positions.BindText(1, group);
  positions.BindText(2, topic);
  std::map<std::int32_t, CommittedPosition> offsets;
  int code = SQLITE_OK;
  while ((code = positions.Step()) == SQLITE_ROW) {
    offsets[static_cast<std::int32_t>(positions.Int(0))] = {Offset(positions.Int(1)),
                                                            std::string(positions.Bytes(2))};
  }
  if (code != SQLITE_DONE) return control_.connection().Error(code);
  return offsets;
}

Result<std::vector<std::string>> LocalLog::Groups() {
  const std::lock_guard<std::mutex> guard(mutex_);
  MILLRACE_RETURN_IF_ERROR(OpenControl());
  Statement names;
  MILLRACE_RETURN_IF_ERROR(
      control_.connection().Prepare("SELECT name FROM groups ORDER BY name", &names));
  std::vector<std::string> groups;
  int code = SQLITE_OK;
  while ((code = names.Step()) == SQLITE_ROW) groups.emplace_back(names.Bytes(0));
  if (code != SQLITE_DONE) return control_.connection().Error(code);
  return groups;
}

}  // namespace
}  // namespace local

Result<std::unique_ptr<Log>> OpenLocalLog(const LocalLogOptions& options) {
  auto log = std::make_unique<local::LocalLog>();
  MILLRACE_RETURN_IF_ERROR(log->Open(options));
  return std::unique_ptr<Log>(std::move(log));
}

}  // namespace millrace
