#include "transport/kafka/committer.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/crash_point.h"
#include "telemetry/log.h"
#include "transport/kafka/client_config.h"
#include "transport/kafka/error.h"
#include "transport/kafka/plain_producer.h"
#include "transport/kafka/transaction.h"

namespace millrace::kafka {
namespace {

// How long one call may wait for the cluster before it answers that it has to be asked again.
constexpr Millis kAskTimeout{5'000};

class TransactionalCommitter final : public Committer {
 public:
  TransactionalCommitter(const KafkaOptions& kafka, const WorkerLogOptions& options,
                         const OutputLimits& limits, std::shared_ptr<Membership> member,
                         SlotLease slot)
      : kafka_(kafka),
        options_{options.group + "-" + slot.name(), options.transaction_timeout, options.memory},
        member_(std::move(member)),
        slot_(std::move(slot)),
        writer_(options.topics, limits) {}

  void Stage(std::span<const OutputRecord* const> outputs) override {
    // After trouble, or in it, the unit is written by Commit, as a whole.
    if (!staging_ || !CanBegin()) {
      staging_ = false;
      return;
    }
    producer_->Write(outputs);
    staged_ += outputs.size();
    CrashPoint("unit_staged");
  }

  CommitResult Commit(const UnitOfWork& unit) override {
    CommitResult result = Attempt(unit);
    staging_ = true;
    // It committed, but the producer is tainted: the next life asks the log, now and not later.
    if (result.outcome == CommitOutcome::kUnknown && committed_as_told_) result = Attempt(unit);
    if (result.outcome == CommitOutcome::kCommitted) {
      member_->assignment.OnCommitted(unit.positions);
      CrashPoint("after_commit");
    }
    return result;
  }

  Status EnsureProducer(Millis timeout);

 private:
  CommitResult Attempt(const UnitOfWork& unit);
  CommitResult RunTransaction(const UnitOfWork& unit);
  // Partitions of the unit are not ours any more: what is staged must not be seen.
  CommitResult Lost(std::vector<PartitionSlot> gone);
  bool CanBegin() const {
    return producer_ != nullptr && producer_->initialized() && !unresolved_ &&
           (producer_->open() || !producer_->tainted());
  }
  // Whether the group's committed offsets cover the unit: kCommitted, kRetry (they do not), or
  // kUnknown (no answer yet).
  CommitResult AskTheLog(const UnitOfWork& unit);
  CommitResult Broken(const TransactionResult& result);
  CommitResult Waiting(Status why) const {
    return {unresolved_ ? CommitOutcome::kUnknown : CommitOutcome::kRetry, std::move(why), {}};
  }

  const KafkaOptions kafka_;
  const TransactionalProducer::Options options_;
  const std::shared_ptr<Membership> member_;
  const SlotLease slot_;
  OutputWriter writer_;
  std::unique_ptr<TransactionalProducer> producer_;  // None between two lives.
  bool unresolved_ = false;                          // The last unit may have committed.
  bool committed_as_told_ = false;                   // The client said so, with a tainted producer.
  bool staging_ = true;                              // Stage writes what it is given.
  std::size_t staged_ = 0;                           // Outputs in the open transaction.
  int lives_ = 0;
};

Status TransactionalCommitter::EnsureProducer(Millis timeout) {
  // An answer that was lost after its transaction had ended: nothing is open that it could spoil.
  if (producer_ != nullptr && !producer_->open() && producer_->tainted()) producer_.reset();
  if (producer_ != nullptr && producer_->initialized()) return {};
  if (producer_ == nullptr) {
    if (lives_ > 0) CrashPoint("before_recreate");
    auto opened = TransactionalProducer::Open(kafka_, options_, &writer_);
    if (!opened.ok()) return opened.status();
    producer_ = std::move(*opened);
  }
  const Status status = producer_->Init(timeout);
  // One that timed out goes on where it was; any other is of no use any more.
  if (!status.ok() && status.code() != StatusCode::kUnavailable) producer_.reset();
  if (!status.ok()) return status;
  if (++lives_ > 1) {
    CrashPoint("after_recreate");
    LogEvent(LogLevel::kInfo, "producer_recreated",
             "a new transactional producer has fenced what the last one left under way",
             {{"transactional_id", options_.transactional_id}, {"lives", lives_}});
  }
  return {};
}

CommitResult TransactionalCommitter::Attempt(const UnitOfWork& unit) {
  MILLRACE_CHECK(!unit.positions.empty());
  committed_as_told_ = false;
  if (Status ready = EnsureProducer(kAskTimeout); !ready.ok()) return Waiting(std::move(ready));
  if (unresolved_) {
    CommitResult answer = AskTheLog(unit);
    if (answer.outcome != CommitOutcome::kRetry) return answer;
  }
  if (auto gone = member_->assignment.NotOurs(unit.positions); !gone.empty()) {
    return Lost(std::move(gone));
  }
  return RunTransaction(unit);
}

CommitResult TransactionalCommitter::Lost(std::vector<PartitionSlot> gone) {
  staged_ = 0;
  if (producer_->open()) {
    const TransactionResult aborted = producer_->Abort();
    if (aborted.end == TransactionEnd::kBroken) {
      CommitResult broken = Broken(aborted);
      if (broken.outcome == CommitOutcome::kFatal) return broken;
      unresolved_ = false;  // Nobody asked for its commit; the next life ends it.
    }
  }
  return {CommitOutcome::kLost, Status(StatusCode::kFenced, "partitions have moved on"),
          std::move(gone)};
}

CommitResult TransactionalCommitter::RunTransaction(const UnitOfWork& unit) {
  CrashPoint("before_commit");
  producer_->Write(unit.outputs.subspan(std::exchange(staged_, 0)));
  const PartitionListPtr offsets = PositionList(member_->requests, unit.positions);
  TransactionResult result = producer_->Commit(offsets.get(), *member_);
  const bool tainted = producer_->tainted();
  if (result.end == TransactionEnd::kBroken) return Broken(result);
  if (tainted) {
    LogEvent(LogLevel::kWarn, "producer_tainted",
             "a transactional request ended without an answer; the producer is made anew and the "
             "committed offsets decide",
             {{"transactional_id", options_.transactional_id}, {"error", result.why}});
    producer_.reset();
    unresolved_ = true;
    committed_as_told_ = result.end == TransactionEnd::kCommitted;
    return {CommitOutcome::kUnknown,
            committed_as_told_ ? Status(StatusCode::kUnavailable, "an answer was lost")
                               : std::move(result.why),
            {}};
  }
  if (result.end == TransactionEnd::kCommitted) return {};
  return {CommitOutcome::kRetry, std::move(result.why), {}};
}

CommitResult TransactionalCommitter::Broken(const TransactionResult& result) {
  const bool tainted = producer_->tainted();
  producer_.reset();
  // The coordinator ends a transaction that is older than its timeout. A younger one, whose answers
  // all came, was ended by somebody who has the same transactional.id.
  if (result.fenced && !tainted && result.age < options_.transaction_timeout) {
    return {CommitOutcome::kFatal,
            Status(StatusCode::kFenced,
                   fmt::format("another worker has taken slot '{}' of the group (transactional.id "
                               "{}): this one, the older, stops; give each worker its own "
                               "kafka.slot ({})",
                               slot_.name(), options_.transactional_id, result.why.message())),
            {}};
  }
  unresolved_ = true;
  return {CommitOutcome::kUnknown, result.why, {}};
}

CommitResult TransactionalCommitter::AskTheLog(const UnitOfWork& unit) {
  const PartitionListPtr list = NewPartitionList(unit.positions.size());
  for (const PartitionPosition& position : unit.positions) {
    rd_kafka_topic_partition_list_add(list.get(), member_->requests.c_str(), position.slot.value());
  }
  const rd_kafka_resp_err_t error =
      rd_kafka_committed(member_->client.get(), list.get(), static_cast<int>(kAskTimeout.count()));
  Status status = StatusOf(error, "reading the group's committed offsets");
  std::size_t covered = 0;
  for (std::size_t i = 0; status.ok() && i < unit.positions.size(); ++i) {
    const rd_kafka_topic_partition_t& element = list->elems[i];
    status =
        StatusOf(element.err, fmt::format("committed offset of partition {}", element.partition));
    MILLRACE_CHECK(element.partition == unit.positions[i].slot.value());
    const PartitionPosition& position = unit.positions[i];
    const bool there = element.offset == position.next.value() && NoteOf(element) == position.note;
    if (there || element.offset > position.next.value()) ++covered;
  }
  if (!status.ok()) {
    return {CommitOutcome::kUnknown,
            Status(StatusCode::kUnavailable, std::string(status.message())),
            {}};
  }
  unresolved_ = false;
  const bool committed = covered == unit.positions.size();
  LogEvent(LogLevel::kInfo, "outcome_resolved",
           committed ? "the unit of work had been committed"
                     : "the unit of work had not been "
                       "committed; it is written again",
           {{"records", unit.outputs.size()}, {"partitions", unit.positions.size()}});
  // Offsets of one transaction move together. One that moved alone was moved by a new owner, which
  // NotOurs or the group's generation finds out.
  return {committed ? CommitOutcome::kCommitted : CommitOutcome::kRetry, Status(), {}};
}

class AtLeastOnceCommitter final : public Committer {
 public:
  AtLeastOnceCommitter(const KafkaOptions& kafka, const WorkerLogOptions& options,
                       const OutputLimits& limits, std::shared_ptr<Membership> member)
      : timeout_(options.transaction_timeout),
        member_(std::move(member)),
        producer_(kafka, ClientRole::kProducer, options, limits) {}

  Status EnsureProducer() { return producer_.Ensure(); }

  void Stage(std::span<const OutputRecord* const> outputs) override {
    if (!staging_.ok() || !producer_.open()) return;
    staging_ = producer_.writer().Write(outputs, SystemClock().Now() + timeout_);
    staged_ += outputs.size();
  }

  CommitResult Commit(const UnitOfWork& unit) override {
    CommitResult result = Attempt(unit);
    staging_ = Status();
    return result;
  }

 private:
  CommitResult Attempt(const UnitOfWork& unit) {
    const std::size_t staged = std::exchange(staged_, 0);
    if (auto gone = member_->assignment.NotOurs(unit.positions); !gone.empty()) {
      if (staged > 0) producer_.End();
      return {CommitOutcome::kLost, Status(StatusCode::kFenced, "partitions have moved on"),
              std::move(gone)};
    }
    if (Status ready = EnsureProducer(); !ready.ok()) {
      return {CommitOutcome::kRetry, std::move(ready), {}};
    }
    CrashPoint("before_commit");
    Status status = std::move(staging_);
    if (status.ok()) {
      status =
          producer_.writer().Write(unit.outputs.subspan(staged), SystemClock().Now() + timeout_);
    }
    if (status.ok()) {
      CrashPoint("all_produced");
      status = StatusOf(rd_kafka_flush(producer_.get(), static_cast<int>(timeout_.count())),
                        "writing outcomes");
    }
    if (Status refused = producer_.writer().TakeDeliveryError(); !refused.ok())
      status = std::move(refused);
    if (!status.ok()) {
      producer_.End();
      return {CommitOutcome::kRetry, std::move(status), {}};
    }
    CrashPoint("before_send_offsets");
    const PartitionListPtr offsets = PositionList(member_->requests, unit.positions);
    status =
        StatusOf(rd_kafka_commit(member_->client.get(), offsets.get(), 0), "committing offsets");
    if (!status.ok()) return {CommitOutcome::kRetry, std::move(status), {}};
    member_->assignment.OnCommitted(unit.positions);
    CrashPoint("after_commit");
    return {};
  }

  const Millis timeout_;
  const std::shared_ptr<Membership> member_;
  PlainProducer producer_;
  Status staging_;  // Whether what was staged is on its way.
  std::size_t staged_ = 0;
};

}  // namespace

Result<std::unique_ptr<Committer>> NewTransactionalCommitter(const KafkaOptions& kafka,
                                                             const WorkerLogOptions& options,
                                                             const OutputLimits& limits,
                                                             std::shared_ptr<Membership> member,
                                                             SlotLease slot) {
  auto committer = std::make_unique<TransactionalCommitter>(kafka, options, limits,
                                                            std::move(member), std::move(slot));
  MILLRACE_RETURN_IF_ERROR(committer->EnsureProducer(options.transaction_timeout));
  return std::unique_ptr<Committer>(std::move(committer));
}

Result<std::unique_ptr<Committer>> NewAtLeastOnceCommitter(const KafkaOptions& kafka,
                                                           const WorkerLogOptions& options,
                                                           const OutputLimits& limits,
                                                           std::shared_ptr<Membership> member) {
  auto committer =
      std::make_unique<AtLeastOnceCommitter>(kafka, options, limits, std::move(member));
  MILLRACE_RETURN_IF_ERROR(committer->EnsureProducer());
  return std::unique_ptr<Committer>(std::move(committer));
}

}  // namespace millrace::kafka
