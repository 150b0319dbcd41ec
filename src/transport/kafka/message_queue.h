// MessageQueue: a queue of librdkafka that is emptied many messages at a time, and waited for.
//
// Clients put messages into handle(); the owner takes them from the front. Wake may be called by
// any thread, the rest by one. Internal to transport/kafka.
#pragma once

#include <librdkafka/rdkafka.h>

#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "transport/kafka/handles.h"

namespace millrace::kafka {

class MessageQueue {
 public:
  MessageQueue() = default;
  ~MessageQueue();
  MessageQueue(const MessageQueue&) = delete;
  MessageQueue& operator=(const MessageQueue&) = delete;

  Status Open(rd_kafka_t* client);
  // Whatever arrives in `other` ends a wait as well.
  void WakeOn(rd_kafka_queue_t* other);
  // Destroys what is left. Before the client ends.
  void Close();

  rd_kafka_queue_t* handle() const { return queue_.get(); }

  // Gets what the client has, when nothing is left from before. True when there is a message.
  bool Fill();
  bool empty() const { return next_ == taken_.size(); }
  rd_kafka_message_t* front() const { return taken_[next_]; }
  // The front is its taker's now.
  void PopFront() { ++next_; }
  // Of all messages taken from the client and not popped.
  std::span<rd_kafka_message_t* const> waiting() const {
    return {taken_.data() + next_, taken_.size() - next_};
  }
  // Destroys the waiting messages of a partition.
  void DropPartition(std::int32_t partition);

  // Until something arrives, a Wake (also an earlier one), or `max_wait`.
  void Wait(Millis max_wait);
  void Wake();
  bool woken() const { return woken_.load(); }

 private:
  // How many messages are taken from the client at once.
  static constexpr std::size_t kTake = 1024;

  QueuePtr queue_;
  int wake_fd_ = -1;
  std::atomic<bool> woken_{false};
  std::vector<rd_kafka_message_t*> taken_;
  std::size_t next_ = 0;
};

}  // namespace millrace::kafka
