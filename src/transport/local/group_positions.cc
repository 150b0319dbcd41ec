#include "transport/local/group_positions.h"

#include <fmt/format.h>

#include "base/check.h"
#include "transport/local/source.h"

namespace millrace::local {

Status GroupPositions::Open() {
  Connection& connection = writer_.connection();
  MILLRACE_RETURN_IF_ERROR(
      connection.Prepare("SELECT generation FROM groups WHERE id = ?1", &generation_));
  MILLRACE_RETURN_IF_ERROR(connection.Prepare(
      "INSERT INTO committed(group_id, partition_id, position, note) VALUES(?1, ?2, ?3, ?5) "
      "ON CONFLICT DO UPDATE SET position = excluded.position, note = excluded.note "
      "WHERE position <= ?4 AND (position, note) IS NOT (excluded.position, excluded.note)",
      &move_));
  return connection.Prepare(
      "SELECT position, note FROM committed WHERE group_id = ?1 AND partition_id = ?2", &stored_);
}

void GroupPositions::Close() {
  generation_ = Statement();
  move_ = Statement();
  stored_ = Statement();
}

CommitResult GroupPositions::CheckEpochs(std::span<const PartitionPosition> positions) const {
  CommitResult result;
  for (const PartitionPosition& position : positions) {
    MILLRACE_CHECK(position.slot.value() >= 0 &&
                   position.slot.index() < membership_->requests.partition_ids.size());
    if (position.epoch != kOnlyEpoch) result.lost.push_back(position.slot);
  }
  if (result.lost.empty()) return result;
  result.outcome = CommitOutcome::kLost;
  result.status = {StatusCode::kFenced, "commit: the partition's work is of another epoch"};
  return result;
}

Status GroupPositions::CheckGeneration() {
  const ResetAtExit reset(generation_);
  generation_.Bind(1, membership_->group_id);
  const int code = generation_.Step();
  if (code != SQLITE_ROW) return writer_.connection().Error(code);
  return generation_.Int(0) == membership_->generation ? Status() : Fenced(*membership_);
}

Status GroupPositions::Move(std::span<const PartitionPosition> positions, bool* moved_before) {
  std::size_t changed = 0;
  std::size_t unchanged = 0;
  for (const PartitionPosition& position : positions) {
    MILLRACE_CHECK(position.base <= position.next);
    // It changes nothing, or gives its first position to a partition that has none.
    const bool stays = position.base == position.next && position.note.empty();
    bool moved = false;
    MILLRACE_RETURN_IF_ERROR(MoveOne(position, position.base, &moved));
    if (stays) continue;
    ++(moved ? changed : unchanged);
  }
  if (changed != 0 && unchanged != 0) {
    return {StatusCode::kInternal,
            "some positions of this unit were committed before and others "
            "were not: the log is torn; nothing was written"};
  }
  *moved_before = unchanged != 0;
  return {};
}

Status GroupPositions::Raise(std::span<const PartitionPosition> positions) {
  for (const PartitionPosition& position : positions) {
    bool ignored = false;
    MILLRACE_RETURN_IF_ERROR(MoveOne(position, position.next, &ignored));
  }
  return {};
}

Status GroupPositions::MoveOne(const PartitionPosition& position, Offset from, bool* changed) {
  const std::size_t partition = position.slot.index();
  move_.Bind(1, membership_->group_id);
  move_.Bind(2, membership_->requests.partition_ids[partition]);
  move_.Bind(3, position.next.value());
  move_.Bind(4, from.value());
  move_.BindText(5, position.note);
  MILLRACE_RETURN_IF_ERROR(writer_.connection().Run(move_));
  *changed = sqlite3_changes(writer_.connection().handle()) == 1;
  if (*changed || (position.base == position.next && position.note.empty())) return {};
  std::int64_t stored = 0;
  bool same_note = false;
  MILLRACE_RETURN_IF_ERROR(Read(partition, position.note, &stored, &same_note));
  if (stored == position.next.value() && same_note) return {};
  return {StatusCode::kInternal,
          fmt::format("group '{}' stands at {} of {}:{}, and this unit goes from {} to {}: "
                      "somebody else moved it; nothing was written",
                      membership_->group, stored, membership_->requests.spec.name, partition,
                      position.base.value(), position.next.value())};
}

Status GroupPositions::Read(std::size_t partition, std::string_view note, std::int64_t* position,
                            bool* same_note) {
  const ResetAtExit reset(stored_);
  stored_.Bind(1, membership_->group_id);
  stored_.Bind(2, membership_->requests.partition_ids[partition]);
  const int code = stored_.Step();
  if (code != SQLITE_ROW) return writer_.connection().Error(code);
  *position = stored_.Int(0);
  *same_note = stored_.Bytes(1) == note;
  return {};
}

}  // namespace millrace::local
