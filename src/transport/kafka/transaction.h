// TransactionalProducer: one life of a producer with a transactional.id, and its transactions.
//
// It speaks transaction protocol 1, in which a request that was given up (timed out, or its
// connection lost) may still arrive and end a later transaction of the same producer epoch (Jepsen,
// Bufstream 0.1.0; KAFKA-17754). So an interceptor watches the answers of the transactional
// requests: after one that ended in nobody-knows, the producer is `tainted`, and its owner ends
// this life when the transaction at hand has been settled, begins another with the same id, which
// fences whatever is still under way, and lets the group's committed offsets decide.
//
// One thread. Internal to transport/kafka.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/status.h"
#include "transport/committer.h"
#include "transport/kafka/client_events.h"
#include "transport/kafka/membership.h"
#include "transport/kafka/output_writer.h"

namespace millrace::kafka {

enum class TransactionEnd {
  kCommitted,
  kAborted,  // Nothing of it is visible, and the producer is good for another.
  kBroken,   // This life is over; whether it committed may be unknown.
};

struct TransactionResult {
  TransactionEnd end = TransactionEnd::kCommitted;
  Status why;
  // A later life of the same id, elsewhere, ended this one; or the coordinator did, for the
  // transaction took longer than its timeout.
  bool fenced = false;
  bool may_have_committed = false;  // With kBroken: the commit was asked for.
  Nanos age{0};                     // From begin to end.
};

class TransactionalProducer {
 public:
  struct Options {
    std::string transactional_id;
    Millis transaction_timeout{10'000};
    LogMemory memory = {};
  };

  static Result<std::unique_ptr<TransactionalProducer>> Open(const KafkaOptions& kafka,
                                                             const Options& options,
                                                             OutputWriter* writer);
  TransactionalProducer(const Options& options, OutputWriter* writer)
      : options_(options), writer_(writer) {}
  ~TransactionalProducer();
  TransactionalProducer(const TransactionalProducer&) = delete;
  TransactionalProducer& operator=(const TransactionalProducer&) = delete;

  // Fences earlier lives of the id and ends their transaction. kUnavailable: call it again.
  Status Init(Millis timeout);
  bool initialized() const { return initialized_; }

  // Writes `outputs` in the open transaction, and opens one when there is none. What goes wrong is
  // Commit's answer. They stay borrowed until the transaction's end.
  void Write(std::span<const OutputRecord* const> outputs);
  // Commits the transaction, opened by Write, with the `offsets` of `member`'s group; or ends it
  // otherwise, as the answer says.
  TransactionResult Commit(const rd_kafka_topic_partition_list_t* offsets,
                           const Membership& member);
  // Ends the transaction without a commit. Fine when none is open.
  TransactionResult Abort();

  bool open() const { return open_; }
  bool tainted() const { return tainted_.load(std::memory_order_acquire); }

 private:
  static rd_kafka_resp_err_t OnNew(rd_kafka_t* producer, const rd_kafka_conf_t* conf, void* opaque,
                                   char* text, std::size_t text_size);
  static rd_kafka_resp_err_t OnResponse(rd_kafka_t* producer, int socket, const char* broker,
                                        std::int32_t broker_id, std::int16_t api_key,
                                        std::int16_t api_version, std::int32_t correlation_id,
                                        std::size_t size, std::int64_t rtt,
                                        rd_kafka_resp_err_t error, void* opaque);
  static rd_kafka_resp_err_t OnRequest(rd_kafka_t* producer, int socket, const char* broker,
                                       std::int32_t broker_id, std::int16_t api_key,
                                       std::int16_t api_version, std::int32_t correlation_id,
                                       std::size_t size, void* opaque);

  ErrorPtr SendOffsets(const rd_kafka_topic_partition_list_t* offsets, const Membership& member,
                       Status* why);
  TransactionResult Settle(ErrorPtr error, Status why, bool commit_asked);

  const Options options_;
  OutputWriter* const writer_;
  ClientEvents events_{"transactional producer"};
  ClientPtr producer_;
  bool initialized_ = false;
  bool open_ = false;  // A transaction is: begun, and not yet settled.
  MonoTime begun_{};
  Status write_error_;    // Why the open transaction cannot commit, when it is not OK.
  ErrorPtr begin_error_;  // The client's word on it, when it could not even begin.
  std::atomic<bool> tainted_{false};
};

}  // namespace millrace::kafka
