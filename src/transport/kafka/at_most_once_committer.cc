#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/crash_point.h"
#include "telemetry/log.h"
#include "transport/kafka/client_config.h"
#include "transport/kafka/committer.h"
#include "transport/kafka/error.h"
#include "transport/kafka/plain_producer.h"

namespace millrace::kafka {
namespace {

// How long one call may wait for the cluster before it answers that it has to be asked again.
constexpr Millis kAskTimeout{5'000};

// Who we are in the group. The client sends a claim as whoever we are at that moment, and a broker
// takes the claim of nobody in particular for a group that has no member. So an answer counts only
// when we were in the group throughout:
//   - the same member before and after: a broker that has dropped a member takes it back under
//     another id, but for KIP-848, where the member chooses its own; and
//   - the assignment was not lost in between. The client keeps it for lost until the source has
//     served that, which is this thread's, too, and joins again only then.
// The generation may grow meanwhile: a rebalance takes no partition from us before the source has
// given it up.
struct MemberStamp {
  std::int32_t generation = -1;
  std::string id;

  bool in_group() const { return generation >= 0 && !id.empty(); }
};

MemberStamp StampOf(const Membership& member) {
  const GroupMetadataPtr metadata(rd_kafka_consumer_group_metadata(member.client.get()));
  if (metadata == nullptr) return {};
  return {rd_kafka_consumer_group_metadata_generation_id(metadata.get()),
          rd_kafka_consumer_group_metadata_member_id(metadata.get())};
}

bool StayedInGroup(const Membership& member, const MemberStamp& before) {
  const MemberStamp now = StampOf(member);
  return now.in_group() && now.id == before.id &&
         rd_kafka_assignment_lost(member.client.get()) == 0;
}

// Answers by which a group turns a claim away.
bool IsRefusal(rd_kafka_resp_err_t error) {
  return error == RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS ||
         error == RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION ||
         error == RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID ||
         error == RD_KAFKA_RESP_ERR_STALE_MEMBER_EPOCH;
}

CommitResult Refused(Status status) {
  CommitResult result{CommitOutcome::kRetry, std::move(status), {}};
  result.refused = true;
  return result;
}

// A claim that was sent again by the client after its first answer was lost may, on a connection
// that the broker has yet to read, be followed by its own first attempt. That one names a position
// that we have left behind; the next claim mends it. A crash before that would double what lies
// between. The protocol has no means against it but transactions.
class AtMostOnceCommitter final : public Committer {
 public:
  AtMostOnceCommitter(const KafkaOptions& kafka, const WorkerLogOptions& options,
                      const OutputLimits& limits, std::shared_ptr<Membership> member)
      : member_(std::move(member)),
        claims_(rd_kafka_queue_new(member_->client.get())),
        producer_(kafka, ClientRole::kPatientProducer, options, limits) {}

  Status EnsureProducer();

  void Stage(std::span<const OutputRecord* const> outputs) override {
    const std::size_t first = std::exchange(offered_, offered_ + outputs.size());
    // Behind what could not be written, nothing is: Commit sees to it.
    if (first != written_ || !producer_.open() || spent_) return;
    static_cast<void>(WriteNew(outputs));
  }

  CommitResult Commit(const UnitOfWork& unit) override {
    offered_ = 0;
    if (Status status = Deliver(unit.outputs); !status.ok()) {
      // Of what was queued the producer alone knows what became: nobody else may write it.
      return {
          written_ > 0 ? CommitOutcome::kUnknown : CommitOutcome::kRetry, std::move(status), {}};
    }
    written_ = 0;
    member_->assignment.OnCommitted(unit.positions);
    CrashPoint("after_commit");
    CommitResult result;
    result.given_up = std::exchange(given_up_, 0);
    return result;
  }

  CommitResult Claim(std::span<const PartitionPosition> positions) override;

 private:
  Status Deliver(std::span<const OutputRecord* const> outputs);
  Status WriteNew(std::span<const OutputRecord* const> outputs);
  Status WriteAgain(std::span<const OutputRecord* const> outputs);
  void SortFailures();
  void EndProducer();
  int UnderWay() const { return !producer_.open() ? 0 : rd_kafka_outq_len(producer_.get()); }

  const std::shared_ptr<Membership> member_;

  // The intake thread's.
  const QueuePtr claims_;  // Answers to claims.
  MemberStamp stamp_;      // When the last one was sent.

  // The commit thread's: of the unit at hand.
  PlainProducer producer_;
  std::size_t offered_ = 0;         // Outputs that Stage was given.
  std::size_t written_ = 0;         // The first so many were queued.
  std::vector<std::size_t> again_;  // Those of them that the cluster refused.
  std::size_t given_up_ = 0;        // Those of them of which nobody knows.
  bool spent_ = false;              // Something failed: the producer is ended once it is idle.
};

Status AtMostOnceCommitter::EnsureProducer() {
  if (spent_ && UnderWay() == 0) EndProducer();
  return producer_.Ensure();
}

void AtMostOnceCommitter::EndProducer() {
  producer_.End();
  spent_ = false;
}

// OK when each of `outputs` is in the log, or given up.
Status AtMostOnceCommitter::Deliver(std::span<const OutputRecord* const> outputs) {
  if (outputs.empty()) return {};
  MILLRACE_RETURN_IF_ERROR(EnsureProducer());
  CrashPoint("before_commit");
  Status status;
  if (!spent_) {
    status = WriteAgain(outputs);
    if (status.ok()) status = WriteNew(outputs.subspan(written_));
    if (status.ok()) CrashPoint("all_produced");
  }
  const Status flushed =
      StatusOf(rd_kafka_flush(producer_.get(), static_cast<int>(kAskTimeout.count())),
               "waiting for outcomes to be written");
  SortFailures();
  if (Status refused = producer_.writer().TakeDeliveryError(); !refused.ok() && !again_.empty()) {
    return refused;
  }
  if (UnderWay() > 0) return flushed;
  if (!again_.empty()) return {StatusCode::kUnavailable, "outcomes were refused"};
  return status;
}

Status AtMostOnceCommitter::WriteNew(std::span<const OutputRecord* const> outputs) {
  const MonoTime deadline = SystemClock().Now() + kAskTimeout;
  Status status;
  const std::size_t first = written_;
  for (const OutputRecord* output : outputs) {
    status = producer_.writer().WriteCopy(*output, written_, deadline);
    if (!status.ok()) break;
    if (++written_ == first + 1) CrashPoint("first_produced");
  }
  spent_ = spent_ || (!status.ok() && rd_kafka_fatal_error(producer_.get(), nullptr, 0) != 0);
  rd_kafka_poll(producer_.get(), 0);
  return status;
}

// What was refused, in the order of its inputs, with a producer that knows nothing of the first
// time.
Status AtMostOnceCommitter::WriteAgain(std::span<const OutputRecord* const> outputs) {
  const MonoTime deadline = SystemClock().Now() + kAskTimeout;
  std::sort(again_.begin(), again_.end());
  std::size_t queued = 0;
  Status status;
  for (; queued < again_.size(); ++queued) {
    status = producer_.writer().WriteCopy(*outputs[again_[queued]], again_[queued], deadline);
    if (!status.ok()) break;
  }
  again_.erase(again_.begin(), again_.begin() + static_cast<std::ptrdiff_t>(queued));
  return status;
}

void AtMostOnceCommitter::SortFailures() {
  std::size_t unknown = 0;
  for (const OutputWriter::Failure& failure : producer_.writer().TakeFailures()) {
    spent_ = true;
    if (failure.maybe_written) {
      ++unknown;
    } else {
      again_.push_back(failure.number);
    }
  }
  if (unknown == 0) return;
  given_up_ += unknown;
  LogEvent(LogLevel::kError, "outcomes_given_up",
           "the cluster did not say whether it has these outcomes; they are not written again, for "
           "that could double them",
           {{"outcomes", unknown}, {"error", producer_.events().last_error()}});
}

CommitResult AtMostOnceCommitter::Claim(std::span<const PartitionPosition> positions) {
  if (!member_->claiming) {
    if (auto gone = member_->assignment.NotOurs(positions); !gone.empty()) {
      return {CommitOutcome::kLost, Status(StatusCode::kFenced, "partitions have moved on"),
              std::move(gone)};
    }
    stamp_ = StampOf(*member_);
    if (!stamp_.in_group()) {
      return Refused(
          Status(StatusCode::kUnavailable, "this worker is not in the group at the moment"));
    }
    const PartitionListPtr offsets = PositionList(member_->requests, positions);
    if (Status sent = StatusOf(rd_kafka_commit_queue(member_->client.get(), offsets.get(),
                                                     claims_.get(), nullptr, nullptr),
                               "claiming records");
        !sent.ok()) {
      return Refused(std::move(sent));
    }
    member_->claiming = true;
  }
  const EventPtr answer(rd_kafka_queue_poll(claims_.get(), static_cast<int>(kAskTimeout.count())));
  if (answer == nullptr) {
    return {CommitOutcome::kUnknown,
            Status(StatusCode::kUnavailable, "claiming records: no answer from the cluster yet"),
            {}};
  }
  member_->claiming = false;
  const rd_kafka_resp_err_t error = rd_kafka_event_error(answer.get());
  if (IsRefusal(error)) return Refused(StatusOf(error, "claiming records"));
  Status status = StatusOf(error, "claiming records");
  const auto* const list = rd_kafka_event_topic_partition_list(answer.get());
  for (int i = 0; status.ok() && list != nullptr && i < list->cnt; ++i) {
    status = StatusOf(list->elems[i].err,
                      fmt::format("claiming records of partition {}", list->elems[i].partition));
  }
  if (status.ok() && !StayedInGroup(*member_, stamp_)) {
    status = Status(StatusCode::kUnavailable,
                    "claiming records: this worker was out of the group meanwhile");
  }
  if (status.ok()) return {};
  const bool fenced = status.code() == StatusCode::kFenced;
  return {fenced ? CommitOutcome::kFatal : CommitOutcome::kRetry, std::move(status), {}};
}

}  // namespace

Result<std::unique_ptr<Committer>> NewAtMostOnceCommitter(const KafkaOptions& kafka,
                                                          const WorkerLogOptions& options,
                                                          const OutputLimits& limits,
                                                          std::shared_ptr<Membership> member) {
  auto committer = std::make_unique<AtMostOnceCommitter>(kafka, options, limits, std::move(member));
  MILLRACE_RETURN_IF_ERROR(committer->EnsureProducer());
  return std::unique_ptr<Committer>(std::move(committer));
}

}  // namespace millrace::kafka
