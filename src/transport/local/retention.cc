#include "transport/local/retention.h"

#include <fmt/format.h>

#include <algorithm>

namespace millrace::local {
namespace {

constexpr int kCacheKib = 2048;
// How much of the writers' time a removal may take at once; long records take longer to free.
constexpr Millis kLongHold{10};
constexpr Millis kShortHold{4};
constexpr int kFewestRecords = 16;
constexpr int kMostRecords = 4096;

}  // namespace

Result<std::int64_t> Retention::RunOnce(WallMillis now, const std::function<bool()>& stop) {
  // Removals need not survive power loss: the next round removes again.
  if (!writer_.open()) {
    MILLRACE_RETURN_IF_ERROR(writer_.Open(LocalDurability::kNormal, kCacheKib));
  }
  const auto topics = ReadTopics(writer_.connection());
  if (!topics.ok()) return topics.status();
  std::int64_t removed = 0;
  for (const TopicRow& topic : *topics) {
    for (const std::int64_t partition : topic.partition_ids) {
      Status status;
      if (topic.spec.cleanup == CleanupPolicy::kCompact) {
        status = Compact(partition, now - kTombstoneLife.count(), stop, &removed);
      } else if (topic.spec.retention > Millis(0)) {
        status = Prune(partition, now - topic.spec.retention.count(), stop, &removed);
      }
      if (!status.ok()) {
        writer_.Close();
        return status;
      }
      if (stop()) return removed;
    }
  }
  return removed;
}

void Retention::Adapt(Nanos held) {
  if (held > kLongHold) {
    records_per_transaction_ = std::max(records_per_transaction_ / 2, kFewestRecords);
  } else if (held < kShortHold) {
    records_per_transaction_ = std::min(records_per_transaction_ * 2, kMostRecords);
  }
}

Result<std::pair<std::int64_t, std::int64_t>> Retention::Expired(std::int64_t partition,
                                                                 WallMillis cutoff, int most) {
  Connection& connection = writer_.connection();
  Statement bound;
  MILLRACE_RETURN_IF_ERROR(connection.Prepare(
      fmt::format("SELECT start, coalesce((SELECT min(c.position) FROM committed AS c "
                  "JOIN groups AS g ON g.id = c.group_id WHERE c.partition_id = ?1 "
                  "AND instr(g.name, '{}') = 0 AND instr(g.name, '{}') = 0), next) "
                  "FROM partitions WHERE id = ?1",
                  kReplayGroupWord, kParkGroupWord),
      &bound));
  bound.Bind(1, partition);
  int code = bound.Step();
  if (code != SQLITE_ROW) return connection.Error(code);
  const std::int64_t start = bound.Int(0);
  const std::int64_t needed = bound.Int(1);
  bound.Reset();
  Statement oldest;
  MILLRACE_RETURN_IF_ERROR(connection.Prepare(
      fmt::format("SELECT offset, timestamp FROM records_{} WHERE offset < ?1 ORDER BY offset "
                  "LIMIT ?2",
                  partition),
      &oldest));
  oldest.Bind(1, needed);
  oldest.Bind(2, most);
  std::int64_t stays = start;
  while ((code = oldest.Step()) == SQLITE_ROW && oldest.Int(1) < cutoff) {
    stays = oldest.Int(0) + 1;
  }
  if (code != SQLITE_DONE && code != SQLITE_ROW) return connection.Error(code);
  return std::make_pair(start, stays);
}

Status Retention::Prune(std::int64_t partition, WallMillis cutoff,
                        const std::function<bool()>& stop, std::int64_t* removed) {
  Connection& connection = writer_.connection();
  // A look without the lock: mostly there is nothing to do.
  const auto look = Expired(partition, cutoff, 1);
  if (!look.ok()) return look.status();
  if (look->first == look->second) return {};
  Statement erase;
  MILLRACE_RETURN_IF_ERROR(connection.Prepare(
      fmt::format("DELETE FROM records_{} WHERE offset < ?1", partition), &erase));
  Statement move;
  MILLRACE_RETURN_IF_ERROR(
      connection.Prepare("UPDATE partitions SET start = ?2 WHERE id = ?1", &move));
  while (!stop()) {
    MILLRACE_RETURN_IF_ERROR(writer_.Begin());
    const MonoTime began = SystemClock().Now();
    const auto expired = Expired(partition, cutoff, records_per_transaction_);
    if (!expired.ok()) return expired.status();
    const auto& [start, stays] = *expired;
    if (start == stays) {
      writer_.Rollback();
      break;
    }
    erase.Bind(1, stays);
    MILLRACE_RETURN_IF_ERROR(connection.Run(erase));
    const std::int64_t erased = sqlite3_changes64(connection.handle());
    move.Bind(1, partition);
    move.Bind(2, stays);
    MILLRACE_RETURN_IF_ERROR(connection.Run(move));
    MILLRACE_RETURN_IF_ERROR(writer_.Commit());
    Adapt(SystemClock().Now() - began);
    *removed += erased;
  }
  return {};
}

Status Retention::Compact(std::int64_t partition, WallMillis cutoff,
                          const std::function<bool()>& stop, std::int64_t* removed) {
  Connection& connection = writer_.connection();
  // In offset order: a key's older records go before, or together with, its tombstone.
  Statement superseded;
  MILLRACE_RETURN_IF_ERROR(connection.Prepare(
      fmt::format("SELECT r.offset FROM records_{0} AS r WHERE "
                  "(r.value IS NULL AND r.timestamp < ?1) OR "
                  "EXISTS (SELECT 1 FROM records_{0} AS l WHERE l.key = r.key AND "
                  "l.offset > r.offset) ORDER BY r.offset LIMIT ?2",
                  partition),
      &superseded));
  Statement erase;
  MILLRACE_RETURN_IF_ERROR(connection.Prepare(
      fmt::format("DELETE FROM records_{} WHERE offset = ?1", partition), &erase));
  Statement move;
  MILLRACE_RETURN_IF_ERROR(connection.Prepare(
      fmt::format("UPDATE partitions SET start = coalesce((SELECT min(offset) FROM records_{}), "
                  "next) WHERE id = ?1",
                  partition),
      &move));
  std::vector<std::int64_t> offsets;
  while (!stop()) {
    offsets.clear();
    superseded.Bind(1, cutoff);
    superseded.Bind(2, records_per_transaction_);
    int code = SQLITE_OK;
    while ((code = superseded.Step()) == SQLITE_ROW) offsets.push_back(superseded.Int(0));
    superseded.Reset();
    if (code != SQLITE_DONE) return connection.Error(code);
    if (offsets.empty()) break;
    MILLRACE_RETURN_IF_ERROR(writer_.Begin());
    const MonoTime began = SystemClock().Now();
    for (const std::int64_t offset : offsets) {
      erase.Bind(1, offset);
      MILLRACE_RETURN_IF_ERROR(connection.Run(erase));
    }
    move.Bind(1, partition);
    MILLRACE_RETURN_IF_ERROR(connection.Run(move));
    MILLRACE_RETURN_IF_ERROR(writer_.Commit());
    Adapt(SystemClock().Now() - began);
    *removed += static_cast<std::int64_t>(offsets.size());
  }
  return {};
}

}  // namespace millrace::local
