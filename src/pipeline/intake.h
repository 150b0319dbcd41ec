// Intake: polls the source, decodes requests into rows, admits them; the one thread that talks to
// the Source and owns the partitions' comings and goings.
//
// What cannot be decoded, or asks for a model that is not served, gets its dead letter here, in the
// same unit of work as its offset. When the log is away the intake backs off and polls again; it
// never drops and never dead-letters for an outage. A request of an unknown model waits here for
// repository.allow_missing_for, and is decoded once the model has arrived. When the ledger has no
// room it stops polling for records and keeps serving the source's events. At most once, it claims
// what it has polled before anything else is done with it (pipeline/claims.h).
#pragma once

#include <atomic>
#include <string>
#include <vector>

#include "base/clock.h"
#include "codec/options.h"
#include "codec/outcome_encoder.h"
#include "codec/request_decoder.h"
#include "pipeline/claims.h"
#include "pipeline/crash_journal.h"
#include "pipeline/dispatch_queue.h"
#include "pipeline/ledger.h"
#include "pipeline/model_seeker.h"
#include "pipeline/model_table.h"
#include "pipeline/options.h"
#include "pipeline/outcome.h"
#include "pipeline/probe.h"
#include "pipeline/request_block.h"
#include "pipeline/shadow.h"
#include "telemetry/log.h"
#include "transport/source.h"

namespace millrace {

// What intake, executors and commit loop share. Built by the Worker; outlives them all.
struct WorkerParts {
  const Clock& clock;
  const std::string group;
  const std::string requests_topic;
  const DeliveryOptions delivery;
  const RetryOptions retry;
  const CodecLimits limits;
  const std::size_t poll_bytes;    // Of the records of one poll.
  const Millis allow_missing_for;  // 0: unknown models are dead letters at once.
  ModelTable& models;
  ModelSeeker* const seeker;  // Null: nobody looks for models that are not there.
  Probe& probe;
  RequestBlockPool& blocks;
  OutcomeChunkPool& chunks;
  DispatchQueue& queue;
  Ledger& ledger;
  CrashJournal* const journal = nullptr;  // Null: nobody keeps one.
  Shadow* const shadow = nullptr;         // Null: no version can shadow another.
};

class Intake final : public Source::Listener {
 public:
  Intake(WorkerParts& parts, Source& source, Committer& committer);

  // The slot that requests of this tenant will have. Before Start.
  TenantSlot AddTenant(std::string_view tenant_id) { return tenants_.Intern(tenant_id); }
  // Joins the group. On the intake thread, before Run.
  Status Start();
  // Polls until Stop or an error that ends the worker (fenced). On the intake thread.
  Status Run();
  // Makes Run return soon. Any thread.
  void Stop();
  // Leaves the group: partitions are revoked, their prefixes committed. On the intake thread.
  Status Close();

  std::size_t assigned_partitions() const { return assigned_.load(std::memory_order_relaxed); }
  // False while the log is away.
  bool log_reachable() const { return reachable_.load(std::memory_order_relaxed); }

  // Requests that wait for their model. Any thread.
  std::size_t waiting() const { return waiting_rows_.load(std::memory_order_relaxed); }

  // The largest poll. Large enough to fill sixteen batches, small enough that the first row does
  // not wait for the last one's decoding. Its bytes: memory_plan.h.
  static constexpr std::size_t kMaxPollRecords = 1024;
  // How long one revoke may wait for its prefixes to be committed; at most once for everything that
  // was claimed of them, for nobody else will run it.
  static constexpr Millis kRevokeTimeout{5'000};
  // How long a partition waits for the models to come as far as those of its last owner. Then it is
  // served by those that are there.
  static constexpr Millis kModelsPatience{60'000};

 private:
  void OnAssigned(std::span<const PartitionAssignment> partitions) override;
  void OnRevoked(std::span<const PartitionSlot> partitions) override;
  void OnLost(std::span<const PartitionSlot> partitions) override;
  void OnPositionAdvanced(PartitionSlot slot, Offset position) override;

  Status PollOnce();
  // Follows the models that have come and gone; rows that waited for one go on.
  void TakeRoutes();
  void Process(RequestBlock* block);
  // Decodes row `i` of the block and puts it where it belongs. True when it has its outcome.
  bool Settle(RequestBlock* block, std::size_t i);
  // Without a failure the row can be run, or it has no model (kNoModel) and waits for one.
  std::optional<Failure> DecodeRow(RequestBlock* block, std::size_t i);
  // The same for a row whose model is known.
  std::optional<Failure> DecodeFor(const ServedModel& model, RequestBlock* block, RequestRow& row);
  // Finds what the request that was begun is for: sets row_model_. Nothing found and no failure:
  // the request may wait for its model.
  std::optional<Failure> FindModel(const Record& record, std::string_view model_id);
  // Looks up what crashed the process before: it runs alone, or never again.
  std::optional<Failure> JudgeSuspect(const ServedModel& model, RequestRow& row) const;
  // Rows whose model has arrived are decoded, those that have waited long enough become dead
  // letters.
  void SettleWaiting(bool arrived);
  void Dispatch(MonoTime now);
  void AddDeadLetter(const RequestRow& row, const Failure& failure);
  // Of the crash journal: what is committed needs no verdict any more.
  void ForgetAnsweredSuspects();
  void ApplyHolds();
  // Of partitions that were held because the models here were behind those of their last owner.
  void ResumeCaughtUp();
  void ApplyAdvances();

  WorkerParts& parts_;
  Source& source_;
  std::optional<Claims> claims_;  // At most once only.
  RequestDecoder decoder_;
  TenantTable tenants_;
  std::vector<std::int32_t> partitions_;  // Partition number by slot.
  std::vector<Ledger::Ticket> tickets_;
  std::vector<Ledger::HoldChange> hold_changes_;
  std::vector<RequestRow*> admitted_;
  std::unique_ptr<OutcomeChunk> dead_letters_;
  std::size_t most_dead_letters_ = 0;  // Of the rows at hand: their addresses must stay.
  ModelIndex index_;
  // Records of one model tend to come together.
  const ModelRoute* last_route_ = nullptr;
  std::string last_model_id_;
  const ServedModel* row_model_ = nullptr;  // Of the row at hand; null: none is known.

  MonoTime suspects_checked_{};
  struct WaitingRow {
    RequestBlock* block = nullptr;
    std::size_t row = 0;
    MonoTime until;
  };
  std::vector<WaitingRow> waiting_;           // For their model.
  MonoTime waiting_until_ = MonoTime::max();  // The first of them.
  std::atomic<std::size_t> waiting_rows_{0};
  bool give_up_waiting_ = false;  // For the rows at hand.

  struct Behind {
    PartitionSlot slot;
    std::int64_t events = 0;  // ModelProgress::applied has to come as far.
    MonoTime until;
  };
  std::vector<Behind> behind_;

  Status note_error_;  // What an assignment brought cannot be read.
  LogLimiter unreachable_log_{Millis(5'000)};

  bool leaving_ = false;  // Close has begun: the worker has waited for what was in flight.
  std::atomic<bool> stop_{false};
  std::atomic<bool> reachable_{true};
  std::atomic<std::size_t> assigned_{0};
};

}  // namespace millrace
