// Intake: polls the source, decodes requests into rows, admits them; the one thread that talks to
// the Source and owns the partitions' comings and goings.
//
// What cannot be decoded, or asks for a model that is not served, gets its dead letter here, in the
// same unit of work as its offset. When the log is away the intake backs off and polls again; it
// never drops and never dead-letters for an outage. When the ledger has no room it stops polling
// for records and keeps serving the source's events. At most once, it claims what it has polled
// before anything else is done with it (pipeline/claims.h).
#pragma once

#include <atomic>
#include <string>
#include <vector>

#include "base/clock.h"
#include "codec/options.h"
#include "codec/outcome_encoder.h"
#include "codec/request_decoder.h"
#include "pipeline/claims.h"
#include "pipeline/dispatch_queue.h"
#include "pipeline/ledger.h"
#include "pipeline/model_table.h"
#include "pipeline/options.h"
#include "pipeline/outcome.h"
#include "pipeline/probe.h"
#include "pipeline/request_block.h"
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
  const ModelTable& models;
  Probe& probe;
  RequestBlockPool& blocks;
  OutcomeChunkPool& chunks;
  DispatchQueue& queue;
  Ledger& ledger;
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

  // The largest poll. Large enough to fill sixteen batches, small enough that the first row does
  // not wait for the last one's decoding.
  static constexpr std::size_t kMaxPollRecords = 1024;
  static constexpr std::size_t kMaxPollBytes = 4 << 20;
  // How long one revoke may wait for its prefixes to be committed; at most once for everything that
  // was claimed of them, for nobody else will run it.
  static constexpr Millis kRevokeTimeout{5'000};

 private:
  void OnAssigned(std::span<const PartitionAssignment> partitions) override;
  void OnRevoked(std::span<const PartitionSlot> partitions) override;
  void OnLost(std::span<const PartitionSlot> partitions) override;
  void OnPositionAdvanced(PartitionSlot slot, Offset position) override;

  Status PollOnce();
  void Process(RequestBlock* block);
  // Decodes record `i` of the block; true when its row waits for a run, false when it has a
  // failure.
  std::optional<Failure> DecodeRow(RequestBlock* block, std::size_t i);
  void AddDeadLetter(const RequestRow& row, const Failure& failure);
  void ApplyHolds();
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
  const ServedModel* last_model_ = nullptr;  // Records of one model tend to come together.

  Status note_error_;  // What an assignment brought cannot be read.
  LogLimiter unreachable_log_{Millis(5'000)};

  std::atomic<bool> stop_{false};
  std::atomic<bool> reachable_{true};
  std::atomic<std::size_t> assigned_{0};
};

}  // namespace millrace
