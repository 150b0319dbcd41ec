// The Source of Kafka: a member of a consumer group that takes partitions as they are given.
//
// Two queues. Events (rebalances, errors) come from the consumer's own queue and are served at
// every poll; records come from a queue of their own that the assigned partitions are forwarded to,
// so that a rebalance never waits behind prefetched records. A partition that is held is not
// forwarded: what the client has prefetched stays with it (`pause` would throw it away), and what
// was already taken out is parked here until it is resumed.
//
// A partition is opened, with a new epoch, when its first record or its end is seen: then the
// client has waited for the last owner's transaction, and the committed position can be asked for
// without waiting. Internal to transport/kafka.
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "transport/kafka/membership.h"
#include "transport/kafka/message.h"
#include "transport/kafka/message_queue.h"
#include "transport/options.h"
#include "transport/source.h"

namespace millrace::kafka {

class KafkaSource final : public Source {
 public:
  // `membership` has the group; the client is made here.
  static Result<std::unique_ptr<KafkaSource>> Open(const KafkaOptions& options,
                                                   const LogMemory& memory,
                                                   std::shared_ptr<Membership> membership);
  explicit KafkaSource(std::shared_ptr<Membership> membership)
      : membership_(std::move(membership)) {}
  ~KafkaSource() override;
  KafkaSource(const KafkaSource&) = delete;
  KafkaSource& operator=(const KafkaSource&) = delete;

  Status Start(Listener* listener) override;
  Status Poll(const PollLimits& limits, RecordBatch* batch) override;
  void HoldDispatch(PartitionSlot slot, bool hold) override;
  void Wake() override;
  Result<std::vector<PartitionLag>> Lags() override;
  Status Close() override;

 private:
  struct Partition {
    bool assigned = false;
    bool opened = false;  // The listener knows of it.
    bool held = false;
    Offset next;                             // The first offset not handed out yet; once opened.
    std::int64_t end_seen = -1;              // Where the client said that nothing follows.
    std::deque<rd_kafka_message_t*> parked;  // Taken out while held, or behind such.
  };

  // Gives everything up and leaves, which a static member's close does not.
  void LeaveGroup();
  Status Connect(const KafkaOptions& options, const LogMemory& memory);
  static void OnRebalance(rd_kafka_t* client, rd_kafka_resp_err_t error,
                          rd_kafka_topic_partition_list_t* list, void* opaque);
  void Assign(rd_kafka_topic_partition_list_t* list);
  void Revoke(rd_kafka_topic_partition_list_t* list);
  // Closes without the client, which is left to the end of the process.
  Status Abandon();

  Status ServeEvents();
  Status EventError(const rd_kafka_message_t& event);
  void ReportEnds();
  // Tells the listener of partitions whose first message is at hand.
  Status OpenPartitions();
  Status OpenAt(const std::vector<const rd_kafka_message_t*>& firsts);
  void HandOut(const PollLimits& limits, MessageCopier* copier);
  // False when the limits are reached and the message was not taken.
  bool HandOutOne(rd_kafka_message_t* message, const PollLimits& limits, MessageCopier* copier);
  void HandOutParked(const PollLimits& limits, MessageCopier* copier);
  void Drop(std::int32_t partition);
  void Forward(std::int32_t partition, bool on);
  Partition& At(std::int32_t partition);
  Status RecordError(const rd_kafka_message_t& message) const;

  const std::shared_ptr<Membership> membership_;
  MessageQueue queue_;

  // The intake thread's.
  Listener* listener_ = nullptr;
  bool closed_ = false;
  bool abandoned_ = false;
  bool joined_ = false;  // A first assignment came.
  bool leaves_ = false;  // When closed, though it is a static member.
  std::vector<Partition> partitions_;
  std::size_t unopened_ = 0;  // Assigned partitions that are not opened yet.
  std::size_t parked_ = 0;    // Messages parked, over all partitions.
  Status record_error_;       // Met while handing out: the next Poll answers it.
};

}  // namespace millrace::kafka
