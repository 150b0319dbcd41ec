#include "transport/kafka/reader.h"

#include <fmt/format.h>

#include <map>
#include <utility>

#include "base/check.h"
#include "transport/kafka/client_config.h"
#include "transport/kafka/error.h"
#include "transport/kafka/message.h"
#include "transport/kafka/message_queue.h"

namespace millrace::kafka {
namespace {

// Uses the client's interface for single partitions, which needs no group and so no right to one.
class KafkaReader final : public Reader {
 public:
  ~KafkaReader() override {
    Stop();
    queue_.Close();
  }

  Status Open(const KafkaOptions& options, ReadPace pace) {
    ClientSpec spec;
    spec.role = pace == ReadPace::kFollow ? ClientRole::kFollower : ClientRole::kReader;
    auto conf = BuildConf(options, spec, &events_);
    if (!conf.ok()) return conf.status();
    auto client = NewClient(RD_KAFKA_CONSUMER, std::move(*conf), events_);
    if (!client.ok()) return client.status();
    client_ = std::move(*client);
    return queue_.Open(client_.get());
  }

  Status Assign(std::span<const Start> starts) override {
    Stop();
    for (const Start& start : starts) {
      Topic& topic = topics_[start.partition.topic];
      if (topic.handle == nullptr) {
        topic.handle.reset(
            rd_kafka_topic_new(client_.get(), start.partition.topic.c_str(), nullptr));
      }
      const std::size_t slot = parts_.size();
      if (!topic.slots.emplace(start.partition.partition, slot).second) {
        return {StatusCode::kInvalidArgument,
                fmt::format("partition {} of topic '{}' is assigned twice",
                            start.partition.partition, start.partition.topic)};
      }
      parts_.push_back({topic.handle.get(), start.partition.partition, start.offset});
      if (rd_kafka_consume_start_queue(topic.handle.get(), start.partition.partition,
                                       start.offset.value(), queue_.handle()) != 0) {
        return StatusOf(rd_kafka_last_error(),
                        fmt::format("reading {} partition {}", start.partition.topic,
                                    start.partition.partition));
      }
    }
    return {};
  }

  Status Poll(const PollLimits& limits, RecordBatch* batch) override {
    MessageCopier copier(batch);
    rd_kafka_poll(client_.get(), 0);
    if (!queue_.Fill() && limits.max_wait > Millis(0)) {
      queue_.Wait(limits.max_wait);
      queue_.Fill();
    }
    Status status;
    while (!queue_.empty() && status.ok()) {
      const rd_kafka_message_t& message = *queue_.front();
      const bool full = copier.records() >= limits.max_records ||
                        (copier.records() > 0 && copier.bytes() + message.len > limits.max_bytes);
      if (full) break;
      const MessagePtr owned(queue_.front());
      queue_.PopFront();
      status = Take(message, &copier);
    }
    copier.Finish();
    if (status.ok() && copier.records() == 0) return events_.CheckBrokers(client_.get());
    return status;
  }

  Offset Position(PartitionSlot slot) const override { return parts_.at(slot.index()).next; }

  void Wake() override { queue_.Wake(); }

 private:
  struct Topic {
    TopicPtr handle;
    std::map<std::int32_t, std::size_t> slots;  // By partition.
  };
  struct Part {
    rd_kafka_topic_t* topic = nullptr;
    std::int32_t partition = 0;
    Offset next;
  };

  Status Take(const rd_kafka_message_t& message, MessageCopier* copier) {
    const auto topic = topics_.find(rd_kafka_topic_name(message.rkt));
    if (topic == topics_.end()) return {};  // Of an earlier Assign.
    const auto found = topic->second.slots.find(message.partition);
    if (found == topic->second.slots.end()) return {};
    Part& part = parts_[found->second];
    if (message.err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
      part.next = std::max(part.next, Offset(message.offset));
      return {};
    }
    if (message.err != RD_KAFKA_RESP_ERR_NO_ERROR) {
      return StatusOf(message.err, rd_kafka_message_errstr(&message),
                      fmt::format("reading {} partition {}", topic->first, message.partition));
    }
    if (Offset(message.offset) < part.next) return {};
    copier->Add(message, PartitionSlot(static_cast<std::int32_t>(found->second)));
    part.next = Next(Offset(message.offset));
    return {};
  }

  void Stop() {
    for (const Part& part : parts_) rd_kafka_consume_stop(part.topic, part.partition);
    parts_.clear();
    topics_.clear();
    for (; queue_.Fill();) {
      const MessagePtr dropped(queue_.front());
      queue_.PopFront();
    }
  }

  ClientEvents events_{"reader"};
  ClientPtr client_;
  MessageQueue queue_;
  std::map<std::string, Topic, std::less<>> topics_;
  std::vector<Part> parts_;  // By slot.
};

}  // namespace

Result<std::unique_ptr<Reader>> NewReader(const KafkaOptions& options, ReadPace pace) {
  auto reader = std::make_unique<KafkaReader>();
  MILLRACE_RETURN_IF_ERROR(reader->Open(options, pace));
  return std::unique_ptr<Reader>(std::move(reader));
}

}  // namespace millrace::kafka
