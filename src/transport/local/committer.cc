#include "transport/local/committer.h"

#include <fmt/format.h>

#include <array>

#include "base/check.h"
#include "base/clock.h"
#include "base/crash_point.h"
#include "transport/local/appender.h"
#include "transport/local/source.h"
#include "transport/local/writer.h"
#include "transport/partitioner.h"

namespace millrace::local {
namespace {

// Pages of a unit that do not fit are written to the WAL before the commit: slower, not wrong.
constexpr int kCacheKib = 8192;

class LocalCommitter final : public Committer {
 public:
  LocalCommitter(const LogContext& context, std::shared_ptr<const Membership> membership,
                 const LogMemory& memory)
      : context_(context),
        cache_kib_(memory.commit_cache_bytes == 0
                       ? kCacheKib
                       : static_cast<int>(memory.commit_cache_bytes >> 10)),
        membership_(std::move(membership)),
        writer_(context),
        appender_(writer_),
        results_(membership_->results),
        dead_letters_(membership_->dead_letters) {}
  ~LocalCommitter() override { Close(); }

  Status Open() {
    Status status = writer_.Open(context_.durability, cache_kib_);
    if (status.ok()) status = appender_.Open();
    if (status.ok()) {
      status =
          writer_.connection().Prepare("SELECT generation FROM groups WHERE id = ?1", &generation_);
    }
    if (status.ok()) {
      status = writer_.connection().Prepare(
          "INSERT INTO committed(group_id, partition_id, position, note) VALUES(?1, ?2, ?3, ?5) "
          "ON CONFLICT DO UPDATE SET position = excluded.position, note = excluded.note "
          "WHERE position <= ?4 AND (position, note) IS NOT (excluded.position, excluded.note)",
          &position_);
    }
    if (status.ok()) {
      status = writer_.connection().Prepare(
          "SELECT position, note FROM committed WHERE group_id = ?1 AND partition_id = ?2",
          &stored_);
    }
    if (!status.ok()) Close();
    return status;
  }

  CommitResult Commit(const UnitOfWork& unit) override {
    CommitResult result;
    if (unit.outputs.empty() && unit.positions.empty()) return result;
    if (!Owned(unit, &result)) return result;
    Status status;
    if (!writer_.open()) status = Open();
    if (status.ok()) status = Write(unit);
    if (status.ok()) return result;
    // A fresh connection after any error: what SQLite keeps after one is not worth knowing.
    Close();
    const StatusCode code = status.code();
    const bool passes = code == StatusCode::kUnavailable || code == StatusCode::kResourceExhausted;
    result.outcome = passes ? CommitOutcome::kRetry : CommitOutcome::kFatal;
    result.status = status.WithContext("commit");
    return result;
  }

 private:
  // False, with the result filled in, when the unit names partitions that are not ours.
  bool Owned(const UnitOfWork& unit, CommitResult* result) const {
    for (const PartitionPosition& position : unit.positions) {
      MILLRACE_CHECK(position.slot.value() >= 0 &&
                     position.slot.index() < membership_->requests.partition_ids.size());
      if (position.epoch != kOnlyEpoch) result->lost.push_back(position.slot);
    }
    if (result->lost.empty()) return true;
    result->outcome = CommitOutcome::kLost;
    result->status = {StatusCode::kFenced, "commit: the partition's work is of another epoch"};
    return false;
  }

  Status Write(const UnitOfWork& unit) {
    MILLRACE_RETURN_IF_ERROR(writer_.Begin());
    MILLRACE_RETURN_IF_ERROR(CheckGeneration());
    bool committed_before = false;
    MILLRACE_RETURN_IF_ERROR(WritePositions(unit, &committed_before));
    if (committed_before) {
      writer_.Rollback();
      return {};
    }
    MILLRACE_RETURN_IF_ERROR(AppendOutputs(unit));
    CrashPoint("before_commit");
    MILLRACE_RETURN_IF_ERROR(writer_.Commit());
    CrashPoint("after_commit");
    return {};
  }

  Status CheckGeneration() {
    const ResetAtExit reset(generation_);
    generation_.Bind(1, membership_->group_id);
    const int code = generation_.Step();
    if (code != SQLITE_ROW) return writer_.connection().Error(code);
    return generation_.Int(0) == membership_->generation ? Status() : Fenced(*membership_);
  }

  Status AppendOutputs(const UnitOfWork& unit) {
    for (auto& items : items_) items.clear();
    const WallMillis now = SystemClock().WallNow();
    for (const OutputRecord* output : unit.outputs) {
      const bool is_result = output->topic == OutputTopic::kResults;
      AppendItem& item = items_[static_cast<std::size_t>(output->topic)].emplace_back();
      item.key = output->Key();
      item.value = output->Value();
      item.headers = output->Headers().block();
      item.timestamp = output->timestamp == 0 ? now : output->timestamp;
      item.partition =
          PartitionForKey(item.key, (is_result ? results_ : dead_letters_).partitions());
    }
    appender_.Begin();
    const std::size_t total = unit.outputs.size();
    for (const OutputTopic topic : {OutputTopic::kResults, OutputTopic::kDeadLetters}) {
      const auto& items = items_[static_cast<std::size_t>(topic)];
      if (items.empty()) continue;
      Appender::Target& target = topic == OutputTopic::kResults ? results_ : dead_letters_;
      MILLRACE_RETURN_IF_ERROR(appender_.Append(target, items, total));
      MILLRACE_RETURN_IF_ERROR(appender_.Finish(target));
    }
    return {};
  }

  // Moves the group's positions from base to next and replaces their notes. Only this worker does,
  // so what is as the unit wants it already was made so by an earlier attempt at it, and then all
  // of them were.
  Status WritePositions(const UnitOfWork& unit, bool* committed_before) {
    std::size_t moved_now = 0;
    std::size_t moved_before = 0;
    for (const PartitionPosition& position : unit.positions) {
      MILLRACE_CHECK(position.base <= position.next);
      const std::size_t partition = position.slot.index();
      position_.Bind(1, membership_->group_id);
      position_.Bind(2, membership_->requests.partition_ids[partition]);
      position_.Bind(3, position.next.value());
      position_.Bind(4, position.base.value());
      position_.BindText(5, position.note);
      MILLRACE_RETURN_IF_ERROR(writer_.connection().Run(position_));
      if (position.base == position.next && position.note.empty()) continue;  // Changes nothing.
      if (sqlite3_changes(writer_.connection().handle()) == 1) {
        ++moved_now;
        continue;
      }
      std::int64_t stored = 0;
      bool same_note = false;
      MILLRACE_RETURN_IF_ERROR(ReadPosition(partition, position.note, &stored, &same_note));
      if (stored != position.next.value() || !same_note) {
        return {StatusCode::kInternal,
                fmt::format("group '{}' stands at {} of {}:{}, and this unit goes from {} to {}: "
                            "somebody else moved it; nothing was written",
                            membership_->group, stored, membership_->requests.spec.name, partition,
                            position.base.value(), position.next.value())};
      }
      ++moved_before;
    }
    if (moved_before != 0 && moved_now != 0) {
      return {StatusCode::kInternal,
              "some positions of this unit were committed before and others "
              "were not: the log is torn; nothing was written"};
    }
    *committed_before = moved_before != 0;
    return {};
  }

  Status ReadPosition(std::size_t partition, std::string_view note, std::int64_t* position,
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

  void Close() {
    writer_.Rollback();
    const std::array<Appender::Target*, 2> targets = {&results_, &dead_letters_};
    appender_.Close(targets);
    generation_ = Statement();
    position_ = Statement();
    stored_ = Statement();
    writer_.Close();
  }

  const LogContext& context_;
  const int cache_kib_;
  const std::shared_ptr<const Membership> membership_;
  Writer writer_;
  Appender appender_;
  Appender::Target results_, dead_letters_;
  Statement generation_, position_, stored_;
  std::array<std::vector<AppendItem>, kOutputTopics> items_;  // Scratch of AppendOutputs.
};

}  // namespace

Result<std::unique_ptr<Committer>> NewCommitter(const LogContext& context,
                                                std::shared_ptr<const Membership> membership,
                                                const LogMemory& memory) {
  auto committer = std::make_unique<LocalCommitter>(context, std::move(membership), memory);
  MILLRACE_RETURN_IF_ERROR(committer->Open());
  return std::unique_ptr<Committer>(std::move(committer));
}

}  // namespace millrace::local
