#include "transport/local/appender.h"

#include <fmt/format.h>

#include "base/check.h"
#include "base/crash_point.h"

namespace millrace::local {

Appender::Target::Target(TopicRow topic) : topic_(std::move(topic)) {
  partitions_.resize(topic_.partition_ids.size());
  for (std::size_t i = 0; i < partitions_.size(); ++i) {
    partitions_[i].id = topic_.partition_ids[i];
  }
}

Status Appender::Open() {
  Connection& connection = writer_.connection();
  MILLRACE_RETURN_IF_ERROR(pending_.Register(connection));
  MILLRACE_RETURN_IF_ERROR(
      connection.Prepare("SELECT next FROM partitions WHERE id = ?1", &read_next_));
  return connection.Prepare("UPDATE partitions SET next = ?2 WHERE id = ?1", &write_next_);
}

void Appender::Close(std::span<Target* const> targets) {
  read_next_ = Statement();
  write_next_ = Statement();
  for (Target* target : targets) {
    for (Target::Partition& partition : target->partitions_) partition.insert = Statement();
    Forget(*target);
  }
}

void Appender::Forget(Target& target) {
  for (Target::Partition& partition : target.partitions_) partition.dirty = false;
}

Status Appender::Append(Target& target, std::span<const AppendItem> items, std::size_t total) {
  MILLRACE_CHECK(total == 0 || appended_ + items.size() <= total);
  for (const AppendItem& item : items) {
    MILLRACE_CHECK(item.partition >= 0 && item.partition < target.partitions());
    const std::size_t bytes = item.key.size() + item.value.size() + item.headers.size();
    if (bytes > kMaxRecordBytes) {
      return {StatusCode::kInvalidArgument,
              fmt::format("a record of {} bytes for topic '{}': the local log takes up to {}",
                          bytes, target.topic().spec.name, kMaxRecordBytes)};
    }
  }
  SortByPartition(target, items);
  for (std::size_t p = 0; p < target.partitions_.size(); ++p) {
    const std::span<const std::uint32_t> run(order_.data() + starts_[p],
                                             starts_[p + 1] - starts_[p]);
    if (run.empty()) continue;
    MILLRACE_RETURN_IF_ERROR(AppendRun(target.partitions_[p], items, run));
    const bool was_before_middle = appended_ * 2 < total;
    appended_ += run.size();
    if (was_before_middle && appended_ * 2 >= total) CrashPoint("mid_produce");
  }
  return {};
}

// Stable: items of one partition keep their order.
void Appender::SortByPartition(const Target& target, std::span<const AppendItem> items) {
  starts_.assign(target.partitions_.size() + 1, 0);
  for (const AppendItem& item : items) ++starts_[static_cast<std::size_t>(item.partition) + 1];
  for (std::size_t p = 1; p < starts_.size(); ++p) starts_[p] += starts_[p - 1];
  order_.resize(items.size());
  for (std::size_t i = 0; i < items.size(); ++i) {
    // Moves starts_[p] to the end of p's run; moved back below.
    order_[starts_[static_cast<std::size_t>(items[i].partition)]++] = static_cast<std::uint32_t>(i);
  }
  for (std::size_t p = starts_.size() - 1; p > 0; --p) starts_[p] = starts_[p - 1];
  starts_[0] = 0;
}

Status Appender::ReadNext(Target::Partition& partition) {
  const ResetAtExit reset(read_next_);
  read_next_.Bind(1, partition.id);
  const int code = read_next_.Step();
  if (code != SQLITE_ROW) return writer_.connection().Error(code);
  partition.next = read_next_.Int(0);
  return {};
}

Status Appender::AppendRun(Target::Partition& partition, std::span<const AppendItem> items,
                           std::span<const std::uint32_t> order) {
  Connection& connection = writer_.connection();
  if (!partition.insert.prepared()) {
    // OR ROLLBACK: an offset that is taken already is damage, and saying so spares SQLite a copy
    // of each page for undoing the statement alone.
    MILLRACE_RETURN_IF_ERROR(connection.Prepare(
        fmt::format("INSERT OR ROLLBACK INTO records_{}(offset, timestamp, key, headers, value) "
                    "SELECT offset, timestamp, key, headers, value FROM pending_rows",
                    partition.id),
        &partition.insert));
  }
  if (!partition.dirty) MILLRACE_RETURN_IF_ERROR(ReadNext(partition));
  pending_.items = items.data();
  pending_.order = order;
  pending_.first_offset = partition.next;
  Status status = connection.Run(partition.insert);
  pending_.order = {};
  if (!status.ok()) return status;
  partition.next += static_cast<std::int64_t>(order.size());
  partition.dirty = true;
  return {};
}

Status Appender::Finish(Target& target) {
  for (Target::Partition& partition : target.partitions_) {
    if (!partition.dirty) continue;
    write_next_.Bind(1, partition.id);
    write_next_.Bind(2, partition.next);
    MILLRACE_RETURN_IF_ERROR(writer_.connection().Run(write_next_));
    partition.dirty = false;
  }
  return {};
}

}  // namespace millrace::local
