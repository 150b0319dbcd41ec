#include "transport/kafka/transaction.h"

#include <fmt/format.h>

#include "base/check.h"
#include "base/crash_point.h"
#include "telemetry/log.h"
#include "transport/kafka/client_config.h"
#include "transport/kafka/error.h"

namespace millrace::kafka {
namespace {

// Numbers of the protocol's requests.
constexpr std::int16_t kProduce = 0;
constexpr std::int16_t kAddPartitionsToTxn = 24;
constexpr std::int16_t kAddOffsetsToTxn = 25;
constexpr std::int16_t kEndTxn = 26;
constexpr std::int16_t kTxnOffsetCommit = 28;

bool Transactional(std::int16_t api_key) {
  return api_key == kProduce || api_key == kAddPartitionsToTxn || api_key == kAddOffsetsToTxn ||
         api_key == kEndTxn || api_key == kTxnOffsetCommit;
}

bool NobodyKnows(rd_kafka_resp_err_t error) {
  return error == RD_KAFKA_RESP_ERR__TIMED_OUT || error == RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE ||
         error == RD_KAFKA_RESP_ERR__TRANSPORT;
}

int Milliseconds(Millis time) { return static_cast<int>(time.count()); }

}  // namespace

Result<std::unique_ptr<TransactionalProducer>> TransactionalProducer::Open(
    const KafkaOptions& kafka, const Options& options, OutputWriter* writer) {
  auto self = std::make_unique<TransactionalProducer>(options, writer);
  ClientSpec spec;
  spec.role = ClientRole::kTransactionalProducer;
  spec.transactional_id = options.transactional_id;
  spec.transaction_timeout = options.transaction_timeout;
  spec.memory = options.memory;
  auto conf = BuildConf(kafka, spec, &self->events_);
  if (!conf.ok()) return conf.status();
  self->events_.owner = writer;
  OutputWriter::Register(conf->get());
  const rd_kafka_resp_err_t added = rd_kafka_conf_interceptor_add_on_new(
      conf->get(), "millrace", &TransactionalProducer::OnNew, self.get());
  MILLRACE_RETURN_IF_ERROR(StatusOf(added, "watching the producer's answers"));
  auto producer = NewClient(RD_KAFKA_PRODUCER, std::move(*conf), self->events_);
  if (!producer.ok()) return producer.status();
  self->producer_ = std::move(*producer);
  MILLRACE_RETURN_IF_ERROR(writer->Attach(self->producer_.get()));
  return self;
}

TransactionalProducer::~TransactionalProducer() {
  writer_->Detach();
  if (producer_ == nullptr) return;
  // What is left belongs to a transaction that the next life aborts.
  rd_kafka_purge(producer_.get(), RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
  rd_kafka_poll(producer_.get(), 0);
}

rd_kafka_resp_err_t TransactionalProducer::OnNew(rd_kafka_t* producer, const rd_kafka_conf_t*,
                                                 void* opaque, char*, std::size_t) {
  if (CrashPointsCompiledIn()) {
    const rd_kafka_resp_err_t error = rd_kafka_interceptor_add_on_request_sent(
        producer, "millrace", &TransactionalProducer::OnRequest, opaque);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) return error;
  }
  return rd_kafka_interceptor_add_on_response_received(producer, "millrace",
                                                       &TransactionalProducer::OnResponse, opaque);
}

rd_kafka_resp_err_t TransactionalProducer::OnResponse(rd_kafka_t*, int, const char*, std::int32_t,
                                                      std::int16_t api_key, std::int16_t,
                                                      std::int32_t, std::size_t, std::int64_t,
                                                      rd_kafka_resp_err_t error, void* opaque) {
  auto* const self = static_cast<TransactionalProducer*>(opaque);
  if (Transactional(api_key) && NobodyKnows(error)) {
    self->tainted_.store(true, std::memory_order_release);
  }
  return RD_KAFKA_RESP_ERR_NO_ERROR;
}

rd_kafka_resp_err_t TransactionalProducer::OnRequest(rd_kafka_t*, int, const char*, std::int32_t,
                                                     std::int16_t api_key, std::int16_t,
                                                     std::int32_t, std::size_t, void*) {
  if (api_key == kEndTxn) CrashPoint("end_txn_sent");
  return RD_KAFKA_RESP_ERR_NO_ERROR;
}

Status TransactionalProducer::Init(Millis timeout) {
  MILLRACE_CHECK(!initialized_);
  const ErrorPtr error(rd_kafka_init_transactions(producer_.get(), Milliseconds(timeout)));
  if (error == nullptr) {
    initialized_ = true;
    tainted_.store(false, std::memory_order_release);
    return {};
  }
  const std::string reason = events_.last_error();
  return StatusOf(rd_kafka_error_code(error.get()), rd_kafka_error_string(error.get()),
                  fmt::format("opening transactions as {}{}{}", options_.transactional_id,
                              reason.empty() ? "" : ", last error: ", reason));
}

void TransactionalProducer::Write(std::span<const OutputRecord* const> outputs) {
  MILLRACE_CHECK(initialized_ && (open_ || !tainted()));
  const MonoTime now = SystemClock().Now();
  if (!open_) {
    static_cast<void>(writer_->TakeDeliveryError());
    open_ = true;
    begun_ = now;
    begin_error_.reset(rd_kafka_begin_transaction(producer_.get()));
    write_error_ = StatusOf(begin_error_.get(), "beginning a transaction");
  }
  if (!write_error_.ok()) return;
  write_error_ = writer_->Write(outputs, now + options_.transaction_timeout);
}

ErrorPtr TransactionalProducer::SendOffsets(const rd_kafka_topic_partition_list_t* offsets,
                                            const Membership& member, Status* why) {
  const MonoTime deadline = SystemClock().Now() + options_.transaction_timeout;
  const GroupMetadataPtr metadata(rd_kafka_consumer_group_metadata(member.client.get()));
  // Without a generation the broker would not check that we are still a member.
  if (metadata == nullptr || rd_kafka_consumer_group_metadata_generation_id(metadata.get()) < 0) {
    *why = Status(StatusCode::kUnavailable, "this worker is not in the group at the moment");
    return nullptr;
  }
  CrashPoint("before_send_offsets");
  while (true) {
    ErrorPtr error(rd_kafka_send_offsets_to_transaction(
        producer_.get(), offsets, metadata.get(), Milliseconds(options_.transaction_timeout)));
    const bool again = error != nullptr && rd_kafka_error_is_retriable(error.get()) != 0 &&
                       rd_kafka_error_txn_requires_abort(error.get()) == 0 &&
                       SystemClock().Now() < deadline;
    if (!again) {
      *why = StatusOf(error.get(), "sending offsets");
      return error;
    }
  }
}

TransactionResult TransactionalProducer::Commit(const rd_kafka_topic_partition_list_t* offsets,
                                                const Membership& member) {
  MILLRACE_CHECK(open_);
  if (!write_error_.ok()) {
    Status why = std::move(write_error_);
    return Settle(std::move(begin_error_), std::move(why), false);
  }
  CrashPoint("all_produced");
  // Outcomes before offsets: they are many, and on their way while this asks for the offsets.
  Status why;
  if (ErrorPtr error = SendOffsets(offsets, member, &why); !why.ok()) {
    return Settle(std::move(error), std::move(why), false);
  }
  CrashPoint("before_end_txn");
  ErrorPtr error(
      rd_kafka_commit_transaction(producer_.get(), Milliseconds(options_.transaction_timeout)));
  if (error == nullptr) {
    open_ = false;
    return {TransactionEnd::kCommitted, {}, false, false, SystemClock().Now() - begun_};
  }
  Status refused = writer_->TakeDeliveryError();
  Status failed = refused.ok() ? StatusOf(error.get(), "committing") : std::move(refused);
  return Settle(std::move(error), std::move(failed), true);
}

TransactionResult TransactionalProducer::Abort() {
  if (!open_) return {TransactionEnd::kAborted, {}, false, false, Nanos(0)};
  return Settle(std::move(begin_error_), std::move(write_error_), false);
}

// Ends a transaction that did not commit, as far as it is known. `error` may be null: then the
// transaction is sound, and it is our wish to abort it.
TransactionResult TransactionalProducer::Settle(ErrorPtr error, Status why, bool commit_asked) {
  open_ = false;
  write_error_ = Status();
  TransactionResult result;
  result.why = std::move(why);
  const bool must_abort = error == nullptr || rd_kafka_error_txn_requires_abort(error.get()) != 0;
  if (!must_abort) {
    result.end = TransactionEnd::kBroken;
    result.fenced = CodeOf(rd_kafka_error_code(error.get())) == StatusCode::kFenced;
    result.may_have_committed = commit_asked;
    result.age = SystemClock().Now() - begun_;
    return result;
  }
  CrashPoint("before_abort");
  const ErrorPtr aborted(
      rd_kafka_abort_transaction(producer_.get(), Milliseconds(options_.transaction_timeout)));
  CrashPoint("after_abort");
  result.end = aborted == nullptr ? TransactionEnd::kAborted : TransactionEnd::kBroken;
  if (aborted != nullptr) {
    result.fenced = CodeOf(rd_kafka_error_code(aborted.get())) == StatusCode::kFenced;
    // An abort that was called for can only follow a commit that did not happen.
    result.why = result.why.WithContext(
        fmt::format("the abort failed ({})", rd_kafka_error_string(aborted.get())));
  }
  result.age = SystemClock().Now() - begun_;
  return result;
}

}  // namespace millrace::kafka
