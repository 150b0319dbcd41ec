#include "transport/kafka/plain_producer.h"

#include <utility>

namespace millrace::kafka {

Status PlainProducer::Ensure() {
  if (open()) return {};
  ClientSpec spec;
  spec.role = role_;
  spec.memory = memory_;
  auto conf = BuildConf(kafka_, spec, &events_);
  if (!conf.ok()) return conf.status();
  events_.owner = &writer_;
  OutputWriter::Register(conf->get());
  auto producer = NewClient(RD_KAFKA_PRODUCER, std::move(*conf), events_);
  if (!producer.ok()) return producer.status();
  producer_ = std::move(*producer);
  return writer_.Attach(producer_.get());
}

void PlainProducer::End() {
  writer_.Detach();
  if (!open()) return;
  rd_kafka_purge(producer_.get(), RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
  rd_kafka_poll(producer_.get(), 0);
  producer_.reset();
}

}  // namespace millrace::kafka
