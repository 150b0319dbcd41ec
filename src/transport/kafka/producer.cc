#include "transport/kafka/producer.h"

#include <fmt/format.h>

#include <array>
#include <map>
#include <string>

#include "transport/kafka/client_config.h"
#include "transport/kafka/error.h"

namespace millrace::kafka {
namespace {

class KafkaProducer final : public Producer {
 public:
  // How long an Append waits for the cluster before it gives up.
  explicit KafkaProducer(Millis patience) : patience_(patience) {}
  ~KafkaProducer() override {
    topics_.clear();
    if (producer_ == nullptr) return;
    rd_kafka_purge(producer_.get(), RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    rd_kafka_poll(producer_.get(), 0);
  }

  Status Open(const KafkaOptions& options) {
    ClientSpec spec;
    spec.role = ClientRole::kProducer;
    auto conf = BuildConf(options, spec, &events_);
    if (!conf.ok()) return conf.status();
    events_.owner = this;
    rd_kafka_conf_set_dr_msg_cb(conf->get(), &KafkaProducer::OnDelivery);
    auto producer = NewClient(RD_KAFKA_PRODUCER, std::move(*conf), events_);
    if (!producer.ok()) return producer.status();
    producer_ = std::move(*producer);
    return {};
  }

  Status Append(const std::string& topic, std::span<const ProducerRecord> records) override {
    TopicPtr& handle = topics_[topic];
    if (handle == nullptr) {
      handle.reset(rd_kafka_topic_new(producer_.get(), topic.c_str(), nullptr));
    }
    delivery_error_ = Status();
    const MonoTime deadline = SystemClock().Now() + patience_;
    Status status;
    for (const ProducerRecord& record : records) {
      status = AppendOne(handle.get(), record, deadline);
      if (!status.ok()) break;
    }
    // Records are borrowed until they are delivered: wait for those before an error, too.
    const rd_kafka_resp_err_t flushed =
        rd_kafka_flush(producer_.get(), static_cast<int>(patience_.count()));
    if (!delivery_error_.ok()) return delivery_error_;
    if (!status.ok()) return status;
    if (flushed == RD_KAFKA_RESP_ERR_NO_ERROR) return {};
    rd_kafka_purge(producer_.get(), RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    return StatusOf(flushed, fmt::format("writing to {} ({})", topic, events_.last_error()));
  }

 private:
  Status AppendOne(rd_kafka_topic_t* topic, const ProducerRecord& record, MonoTime deadline) {
    constexpr int kRoomWaitMs = 10;
    while (true) {
      const rd_kafka_resp_err_t error = Queue(topic, record);
      if (error == RD_KAFKA_RESP_ERR_NO_ERROR) return {};
      if (error != RD_KAFKA_RESP_ERR__QUEUE_FULL || SystemClock().Now() >= deadline) {
        return StatusOf(error, fmt::format("writing to {}", rd_kafka_topic_name(topic)));
      }
      rd_kafka_poll(producer_.get(), kRoomWaitMs);
    }
  }

  rd_kafka_resp_err_t Queue(rd_kafka_topic_t* topic, const ProducerRecord& record) {
    HeadersPtr headers(rd_kafka_headers_new(4));
    for (const Header& header : record.headers) {
      rd_kafka_header_add(headers.get(), header.name.data(),
                          static_cast<ssize_t>(header.name.size()),
                          header.is_null ? nullptr : header.value.data(),
                          static_cast<ssize_t>(header.value.size()));
    }
    std::array<rd_kafka_vu_t, 7> fields;
    fields[0].vtype = RD_KAFKA_VTYPE_RKT;
    fields[0].u.rkt = topic;
    fields[1].vtype = RD_KAFKA_VTYPE_KEY;
    fields[1].u.mem.ptr = record.has_key ? const_cast<char*>(record.key.data()) : nullptr;
    fields[1].u.mem.size = record.key.size();
    fields[2].vtype = RD_KAFKA_VTYPE_VALUE;
    fields[2].u.mem.ptr = record.has_value ? const_cast<char*>(record.value.data()) : nullptr;
    fields[2].u.mem.size = record.value.size();
    fields[3].vtype = RD_KAFKA_VTYPE_TIMESTAMP;
    fields[3].u.i64 = record.timestamp;
    fields[4].vtype = RD_KAFKA_VTYPE_PARTITION;
    fields[4].u.i32 = record.partition.value_or(RD_KAFKA_PARTITION_UA);
    fields[5].vtype = RD_KAFKA_VTYPE_MSGFLAGS;
    fields[5].u.i = 0;  // Borrowed until the flush.
    fields[6].vtype = RD_KAFKA_VTYPE_HEADERS;
    fields[6].u.headers = headers.get();
    const ErrorPtr error(rd_kafka_produceva(producer_.get(), fields.data(), fields.size()));
    if (error != nullptr) return rd_kafka_error_code(error.get());
    static_cast<void>(headers.release());  // Now the producer's.
    return RD_KAFKA_RESP_ERR_NO_ERROR;
  }

  static void OnDelivery(rd_kafka_t*, const rd_kafka_message_t* message, void* opaque) {
    auto* const self = ClientEvents::OwnerOf<KafkaProducer>(opaque);
    if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR || !self->delivery_error_.ok()) return;
    self->delivery_error_ =
        StatusOf(message->err, fmt::format("writing to {} partition {}",
                                           rd_kafka_topic_name(message->rkt), message->partition));
  }

  const Millis patience_;
  ClientEvents events_{"producer"};
  ClientPtr producer_;
  std::map<std::string, TopicPtr> topics_;  // Destroyed before the producer.
  Status delivery_error_;
};

}  // namespace

Result<std::unique_ptr<Producer>> NewProducer(const KafkaOptions& options, Millis patience) {
  auto producer = std::make_unique<KafkaProducer>(patience);
  MILLRACE_RETURN_IF_ERROR(producer->Open(options));
  return std::unique_ptr<Producer>(std::move(producer));
}

}  // namespace millrace::kafka
