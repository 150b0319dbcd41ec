#include "transport/local/catalog.h"

#include <fmt/format.h>

namespace millrace::local {
namespace {

// "mlrc": tells a local log from any other SQLite file.
constexpr std::int64_t kApplicationId = 0x6D6C7263;

constexpr char kTables[] =
    "CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,"
    "  retention_ms INTEGER NOT NULL, compact INTEGER NOT NULL);"
    "CREATE TABLE partitions(id INTEGER PRIMARY KEY, topic INTEGER NOT NULL,"
    "  number INTEGER NOT NULL, start INTEGER NOT NULL, next INTEGER NOT NULL);"
    "CREATE TABLE groups(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,"
    "  generation INTEGER NOT NULL);"
    "CREATE TABLE committed(group_id INTEGER NOT NULL, partition_id INTEGER NOT NULL,"
    "  position INTEGER NOT NULL, note TEXT NOT NULL DEFAULT '',"
    "  PRIMARY KEY(group_id, partition_id)) WITHOUT ROWID;";

// Version 1 had no note beside a position.
constexpr char kUpgradeFrom1[] =
    "BEGIN IMMEDIATE; ALTER TABLE committed ADD COLUMN note TEXT NOT NULL DEFAULT '';"
    "PRAGMA user_version=2; COMMIT;";

Result<std::int64_t> ReadInteger(Connection& connection, const char* sql) {
  Statement statement;
  MILLRACE_RETURN_IF_ERROR(connection.Prepare(sql, &statement));
  const int code = statement.Step();
  if (code != SQLITE_ROW) return connection.Error(code);
  return statement.Int(0);
}

Status CreateTables(Connection& connection) {
  MILLRACE_RETURN_IF_ERROR(
      connection.Exec(fmt::format("PRAGMA page_size={};", kPageBytes).c_str()));
  MILLRACE_RETURN_IF_ERROR(connection.Exec("PRAGMA journal_mode=WAL;"));
  const std::string script =
      fmt::format("BEGIN IMMEDIATE; {} PRAGMA application_id={}; PRAGMA user_version={}; COMMIT;",
                  kTables, kApplicationId, kSchemaVersion);
  Status status = connection.Exec(script.c_str());
  if (!status.ok() && sqlite3_get_autocommit(connection.handle()) == 0) {
    // The first error is the one to report.
    (void)connection.Exec("ROLLBACK;");
  }
  return status;
}

}  // namespace

Status EnsureSchema(Connection& connection, const std::string& path) {
  const auto version = ReadInteger(connection, "PRAGMA user_version;");
  if (!version.ok()) return version.status();
  const auto application = ReadInteger(connection, "PRAGMA application_id;");
  if (!application.ok()) return application.status();
  if (*application == kApplicationId) {
    if (*version == 1) return connection.Exec(kUpgradeFrom1);
    if (*version <= kSchemaVersion) return {};
    return {StatusCode::kUnsupported,
            fmt::format("local log {} has format {}, this version of Millrace knows up to {}: use "
                        "the newer version that wrote it, or another folder",
                        path, *version, kSchemaVersion)};
  }
  const auto tables = ReadInteger(connection, "SELECT count(*) FROM sqlite_schema;");
  if (!tables.ok()) return tables.status();
  if (*tables != 0 || *version != 0 || *application != 0) {
    return {StatusCode::kCorruption,
            fmt::format("{} is a SQLite database but not a local log of Millrace: use another "
                        "folder",
                        path)};
  }
  return CreateTables(connection);
}

Status InsertTopic(Connection& connection, const TopicSpec& spec) {
  if (spec.name.empty() || spec.partitions < 1 || spec.partitions > kMaxPartitionsPerTopic) {
    return {StatusCode::kInvalidArgument,
            fmt::format("topic '{}' with {} partitions: expected a name and 1..{} partitions",
                        spec.name, spec.partitions, kMaxPartitionsPerTopic)};
  }
  Statement insert;
  MILLRACE_RETURN_IF_ERROR(
      connection.Prepare("INSERT INTO topics(name, retention_ms, compact) VALUES(?1, ?2, ?3) "
                         "ON CONFLICT(name) DO NOTHING",
                         &insert));
  const bool compact = spec.cleanup == CleanupPolicy::kCompact;
  insert.BindText(1, spec.name);
  insert.Bind(2, spec.retention.count());
  insert.Bind(3, compact ? 1 : 0);
  MILLRACE_RETURN_IF_ERROR(connection.Run(insert));
  if (sqlite3_changes(connection.handle()) == 0) {
    return {StatusCode::kAlreadyExists, fmt::format("topic '{}' exists already", spec.name)};
  }
  const std::int64_t topic = sqlite3_last_insert_rowid(connection.handle());
  Statement partition;
  MILLRACE_RETURN_IF_ERROR(connection.Prepare(
      "INSERT INTO partitions(topic, number, start, next) VALUES(?1, ?2, 0, 0)", &partition));
  for (std::int32_t number = 0; number < spec.partitions; ++number) {
    partition.Bind(1, topic);
    partition.Bind(2, number);
    MILLRACE_RETURN_IF_ERROR(connection.Run(partition));
    const std::int64_t id = sqlite3_last_insert_rowid(connection.handle());
    // Small columns first: they are found without walking the overflow pages of a long value.
    std::string table = fmt::format(
        "CREATE TABLE records_{0}(offset INTEGER PRIMARY KEY, timestamp INTEGER NOT NULL,"
        " key BLOB, headers BLOB, value BLOB);",
        id);
    // Compaction asks for later records of the same key.
    if (compact) table += fmt::format("CREATE INDEX records_{0}_key ON records_{0}(key);", id);
    MILLRACE_RETURN_IF_ERROR(connection.Exec(table.c_str()));
  }
  return {};
}

Result<std::vector<TopicRow>> ReadTopics(Connection& connection) {
  Statement statement;
  MILLRACE_RETURN_IF_ERROR(
      connection.Prepare("SELECT t.id, t.name, t.retention_ms, t.compact, p.id FROM topics AS t "
                         "JOIN partitions AS p ON p.topic = t.id ORDER BY t.name, p.number",
                         &statement));
  std::vector<TopicRow> topics;
  int code = SQLITE_OK;
  while ((code = statement.Step()) == SQLITE_ROW) {
    if (topics.empty() || topics.back().id != statement.Int(0)) {
      TopicRow& topic = topics.emplace_back();
      topic.id = statement.Int(0);
      topic.spec.name = std::string(statement.Bytes(1));
      topic.spec.retention = Millis(statement.Int(2));
      topic.spec.cleanup = statement.Int(3) != 0 ? CleanupPolicy::kCompact : CleanupPolicy::kDelete;
    }
    topics.back().partition_ids.push_back(statement.Int(4));
    topics.back().spec.partitions = static_cast<std::int32_t>(topics.back().partition_ids.size());
  }
  if (code != SQLITE_DONE) return connection.Error(code);
  return topics;
}

Result<TopicRow> FindTopic(Connection& connection, const std::string& name,
                           const std::string& dir) {
  auto topics = ReadTopics(connection);
  if (!topics.ok()) return topics.status();
  for (TopicRow& topic : *topics) {
    if (topic.spec.name == name) return std::move(topic);
  }
  return Status(StatusCode::kNotFound,
                fmt::format("the local log in {} has no topic '{}': `millrace topics create "
                            "--transport local --data {}` makes it",
                            dir, name, dir));
}

}  // namespace millrace::local
