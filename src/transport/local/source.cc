#include "transport/local/source.h"

#include <fmt/format.h>

#include <algorithm>
#include <mutex>

#include "base/check.h"
#include "transport/local/connection.h"
#include "transport/local/scanner.h"

namespace millrace::local {
namespace {

constexpr int kLagCacheKib = 512;
constexpr Millis kGenerationCheckInterval{1000};

class LocalSource final : public Source {
 public:
  LocalSource(const LogContext& context, std::shared_ptr<const Membership> membership)
      : context_(context), membership_(std::move(membership)), scanner_(context) {}

  Status Open(const LogMemory& memory) {
    return memory.scan_cache_bytes == 0
               ? scanner_.Open()
               : scanner_.Open(static_cast<int>(memory.scan_cache_bytes >> 10));
  }

  Status Start(Listener* listener) override {
    MILLRACE_CHECK(listener != nullptr && listener_ == nullptr && !closed_);
    std::vector<Scanner::Partition> partitions;
    std::vector<std::string> notes;
    MILLRACE_RETURN_IF_ERROR(ReadPositions(&partitions, &notes));
    std::vector<PartitionAssignment> assigned;
    for (std::size_t i = 0; i < partitions.size(); ++i) {
      assigned.push_back({Slot(i),
                          kOnlyEpoch,
                          {membership_->requests.spec.name, static_cast<std::int32_t>(i)},
                          Offset(partitions[i].position),
                          std::move(notes[i])});
    }
    scanner_.Assign(std::move(partitions));
    listener_ = listener;
    listener_->OnAssigned(assigned);
    return {};
  }

  Status Poll(const PollLimits& limits, RecordBatch* batch) override {
    MILLRACE_CHECK(listener_ != nullptr);
    // From the last poll: its records are known to the listener only now.
    ReportSkipped();
    MILLRACE_RETURN_IF_ERROR(scanner_.Poll(limits, batch));
    if (batch->records.empty()) ReportSkipped();
    return CheckGeneration(batch);
  }

  void HoldDispatch(PartitionSlot slot, bool hold) override { scanner_.Hold(slot.index(), hold); }

  void Wake() override { scanner_.Wake(); }

  Result<std::vector<PartitionLag>> Lags() override {
    const std::lock_guard<std::mutex> lock(lag_mutex_);
    auto lags = ReadLags();
    if (!lags.ok()) CloseLags();
    return lags;
  }

  Status Close() override {
    if (closed_) return {};
    closed_ = true;
    if (listener_ != nullptr) {
      std::vector<PartitionSlot> slots;
      for (std::size_t i = 0; i < scanner_.partitions().size(); ++i) slots.push_back(Slot(i));
      if (!slots.empty()) listener_->OnRevoked(slots);
    }
    scanner_.Assign({});
    scanner_.Close();
    return {};
  }

 private:
  static PartitionSlot Slot(std::size_t index) {
    return PartitionSlot(static_cast<std::int32_t>(index));
  }

  Status ReadPositions(std::vector<Scanner::Partition>* partitions,
                       std::vector<std::string>* notes) {
    Statement positions;
    MILLRACE_RETURN_IF_ERROR(scanner_.connection().Prepare(
        "SELECT p.id, coalesce(c.position, p.start), coalesce(c.note, '') FROM partitions AS p "
        "LEFT JOIN committed AS c ON c.partition_id = p.id AND c.group_id = ?1 "
        "WHERE p.topic = ?2 ORDER BY p.number",
        &positions));
    positions.Bind(1, membership_->group_id);
    positions.Bind(2, membership_->requests.id);
    int code = SQLITE_OK;
    while ((code = positions.Step()) == SQLITE_ROW) {
      Scanner::Partition& partition = partitions->emplace_back();
      partition.id = positions.Int(0);
      partition.position = positions.Int(1);
      notes->emplace_back(positions.Bytes(2));
    }
    return code == SQLITE_DONE ? Status() : scanner_.connection().Error(code);
  }

  void ReportSkipped() {
    std::vector<Scanner::Partition>& partitions = scanner_.partitions();
    for (std::size_t i = 0; i < partitions.size(); ++i) {
      if (!partitions[i].skipped) continue;
      partitions[i].skipped = false;
      listener_->OnPositionAdvanced(Slot(i), Offset(partitions[i].position));
    }
  }

  // A fenced worker stops at its next commit at the latest; this stops an idle one.
  Status CheckGeneration(RecordBatch* batch) {
    const MonoTime now = SystemClock().Now();
    if (now < next_generation_check_) return {};
    next_generation_check_ = now + kGenerationCheckInterval;
    Statement generation;
    Connection& connection = scanner_.connection();
    MILLRACE_RETURN_IF_ERROR(
        connection.Prepare("SELECT generation FROM groups WHERE id = ?1", &generation));
    generation.Bind(1, membership_->group_id);
    if (generation.Step() != SQLITE_ROW || generation.Int(0) == membership_->generation) return {};
    batch->Clear();
    return Fenced(*membership_);
  }

  Result<std::vector<PartitionLag>> ReadLags();
  void CloseLags() {
    lag_positions_ = Statement();
    lag_oldest_.clear();
    lag_connection_.Close();
  }

  const LogContext& context_;
  const std::shared_ptr<const Membership> membership_;

  // The intake thread's.
  Scanner scanner_;
  Listener* listener_ = nullptr;
  bool closed_ = false;
  MonoTime next_generation_check_{};

  // Guards what follows.
  std::mutex lag_mutex_;
  Connection lag_connection_;
  Statement lag_positions_;
  std::vector<Statement> lag_oldest_;  // By partition; prepared when first behind.
};

Result<std::vector<PartitionLag>> LocalSource::ReadLags() {
  if (!lag_connection_.open()) {
    MILLRACE_RETURN_IF_ERROR(
        lag_connection_.Open(context_.path, context_.durability, kLagCacheKib));
    MILLRACE_RETURN_IF_ERROR(lag_connection_.Prepare(
        "SELECT p.next, coalesce(c.position, p.start) FROM partitions AS p "
        "LEFT JOIN committed AS c ON c.partition_id = p.id AND c.group_id = ?1 "
        "WHERE p.topic = ?2 ORDER BY p.number",
        &lag_positions_));
    lag_positions_.Bind(1, membership_->group_id);
    lag_positions_.Bind(2, membership_->requests.id);
    lag_oldest_.resize(membership_->requests.partition_ids.size());
  }
  const ResetAtExit reset_positions(lag_positions_);
  std::vector<PartitionLag> lags;
  int code = SQLITE_OK;
  while ((code = lag_positions_.Step()) == SQLITE_ROW) {
    const std::size_t index = lags.size();
    const std::int64_t end = lag_positions_.Int(0);
    const std::int64_t committed = lag_positions_.Int(1);
    lags.push_back({Slot(index), static_cast<std::int32_t>(index), Offset(end), 0});
    if (committed >= end) continue;
    Statement& oldest = lag_oldest_.at(index);
    if (!oldest.prepared()) {
      MILLRACE_RETURN_IF_ERROR(lag_connection_.Prepare(
          fmt::format("SELECT timestamp FROM records_{} WHERE offset >= ?1 ORDER BY offset LIMIT 1",
                      membership_->requests.partition_ids.at(index)),
          &oldest));
    }
    const ResetAtExit reset(oldest);
    oldest.Bind(1, committed);
    if (oldest.Step() == SQLITE_ROW) lags.back().oldest_uncommitted = oldest.Int(0);
  }
  if (code != SQLITE_DONE) return lag_connection_.Error(code);
  return lags;
}

}  // namespace

Result<std::unique_ptr<Source>> NewSource(const LogContext& context,
                                          std::shared_ptr<const Membership> membership,
                                          const LogMemory& memory) {
  auto source = std::make_unique<LocalSource>(context, std::move(membership));
  MILLRACE_RETURN_IF_ERROR(source->Open(memory));
  return std::unique_ptr<Source>(std::move(source));
}

}  // namespace millrace::local
