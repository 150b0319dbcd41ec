#include "transport/local/committer.h"

#include <array>

#include "base/clock.h"
#include "base/crash_point.h"
#include "transport/local/appender.h"
#include "transport/local/group_positions.h"
#include "transport/local/writer.h"
#include "transport/partitioner.h"

namespace millrace::local {
namespace {

// Pages of a unit that do not fit are written to the WAL before the commit: slower, not wrong.
constexpr int kCacheKib = 8192;
constexpr int kClaimCacheKib = 256;

class LocalCommitter final : public Committer {
 public:
  LocalCommitter(const LogContext& context, std::shared_ptr<const Membership> membership,
                 DeliveryMode mode, const LogMemory& memory)
      : context_(context),
        mode_(mode),
        cache_kib_(memory.commit_cache_bytes == 0
                       ? kCacheKib
                       : static_cast<int>(memory.commit_cache_bytes >> 10)),
        membership_(std::move(membership)),
        writer_(context),
        appender_(writer_),
        results_(membership_->results),
        dead_letters_(membership_->dead_letters),
        positions_(writer_, membership_),
        claim_writer_(context),
        claims_(claim_writer_, membership_) {}
  ~LocalCommitter() override {
    Close();
    CloseClaims();
  }

  Status Open() {
    Status status = writer_.Open(context_.durability, cache_kib_);
    if (status.ok()) status = appender_.Open();
    if (status.ok()) status = positions_.Open();
    if (!status.ok()) Close();
    return status;
  }

  CommitResult Commit(const UnitOfWork& unit) override {
    if (unit.outputs.empty() && (unit.positions.empty() || AtMostOnce())) return {};
    CommitResult result = positions_.CheckEpochs(unit.positions);
    if (result.outcome != CommitOutcome::kCommitted) return result;
    Status status;
    if (!writer_.open()) status = Open();
    if (status.ok()) status = Write(unit);
    if (status.ok()) return result;
    // A fresh connection after any error: what SQLite keeps after one is not worth knowing.
    Close();
    return Failed(status, "commit");
  }

  CommitResult Claim(std::span<const PartitionPosition> positions) override {
    if (!AtMostOnce()) return Committer::Claim(positions);
    CommitResult result = claims_.CheckEpochs(positions);
    if (result.outcome != CommitOutcome::kCommitted) return result;
    Status status;
    if (!claim_writer_.open()) status = OpenClaims();
    if (status.ok()) status = WriteClaim(positions);
    if (status.ok()) return result;
    CloseClaims();
    return Failed(status, "claim");
  }

 private:
  bool AtMostOnce() const { return mode_ == DeliveryMode::kAtMostOnce; }

  static CommitResult Failed(const Status& status, const char* doing) {
    const StatusCode code = status.code();
    const bool passes = code == StatusCode::kUnavailable || code == StatusCode::kResourceExhausted;
    return {passes ? CommitOutcome::kRetry : CommitOutcome::kFatal, status.WithContext(doing), {}};
  }

  Status Write(const UnitOfWork& unit) {
    MILLRACE_RETURN_IF_ERROR(writer_.Begin());
    MILLRACE_RETURN_IF_ERROR(positions_.CheckGeneration());
    if (!AtMostOnce()) {
      bool committed_before = false;
      MILLRACE_RETURN_IF_ERROR(positions_.Move(unit.positions, &committed_before));
      if (committed_before) {
        writer_.Rollback();
        return {};
      }
    }
    MILLRACE_RETURN_IF_ERROR(AppendOutputs(unit));
    CrashPoint("before_commit");
    MILLRACE_RETURN_IF_ERROR(writer_.Commit());
    CrashPoint("after_commit");
    return {};
  }

  Status OpenClaims() {
    MILLRACE_RETURN_IF_ERROR(claim_writer_.Open(context_.durability, kClaimCacheKib));
    return claims_.Open();
  }

  Status WriteClaim(std::span<const PartitionPosition> positions) {
    MILLRACE_RETURN_IF_ERROR(claim_writer_.Begin());
    MILLRACE_RETURN_IF_ERROR(claims_.CheckGeneration());
    MILLRACE_RETURN_IF_ERROR(claims_.Raise(positions));
    return claim_writer_.Commit();
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

  void Close() {
    writer_.Rollback();
    const std::array<Appender::Target*, 2> targets = {&results_, &dead_letters_};
    appender_.Close(targets);
    positions_.Close();
    writer_.Close();
  }

  void CloseClaims() {
    claim_writer_.Rollback();
    claims_.Close();
    claim_writer_.Close();
  }

  const LogContext& context_;
  const DeliveryMode mode_;
  const int cache_kib_;
  const std::shared_ptr<const Membership> membership_;

  // The commit thread's.
  Writer writer_;
  Appender appender_;
  Appender::Target results_, dead_letters_;
  GroupPositions positions_;
  std::array<std::vector<AppendItem>, kOutputTopics> items_;  // Scratch of AppendOutputs.

  // The intake thread's; opened by the first Claim.
  Writer claim_writer_;
  GroupPositions claims_;
};

}  // namespace

Result<std::unique_ptr<Committer>> NewCommitter(const LogContext& context,
                                                std::shared_ptr<const Membership> membership,
                                                DeliveryMode mode, const LogMemory& memory) {
  auto committer = std::make_unique<LocalCommitter>(context, std::move(membership), mode, memory);
  MILLRACE_RETURN_IF_ERROR(committer->Open());
  return std::unique_ptr<Committer>(std::move(committer));
}

}  // namespace millrace::local
