// PlainProducer: a producer outside transactions with the writer into it, opened when it is needed.
//
// A producer that gave something up has a gap in its sequence: it is ended, and the next Ensure
// opens another one. Internal to transport/kafka. One thread at a time.
#pragma once

#include "base/status.h"
#include "transport/kafka/client_config.h"
#include "transport/kafka/client_events.h"
#include "transport/kafka/handles.h"
#include "transport/kafka/output_writer.h"
#include "transport/log.h"

namespace millrace::kafka {

class PlainProducer {
 public:
  // `role`: kProducer or kPatientProducer.
  PlainProducer(const KafkaOptions& kafka, ClientRole role, const WorkerLogOptions& options,
                const OutputLimits& limits)
      : kafka_(kafka), role_(role), memory_(options.memory), writer_(options.topics, limits) {}
  ~PlainProducer() { End(); }
  PlainProducer(const PlainProducer&) = delete;
  PlainProducer& operator=(const PlainProducer&) = delete;

  // Opens it unless it is open.
  Status Ensure();
  // What it still holds is given up: nothing is borrowed from a unit afterwards.
  void End();

  bool open() const { return producer_ != nullptr; }
  rd_kafka_t* get() const { return producer_.get(); }
  OutputWriter& writer() { return writer_; }
  ClientEvents& events() { return events_; }

 private:
  const KafkaOptions kafka_;
  const ClientRole role_;
  const LogMemory memory_;
  OutputWriter writer_;
  ClientEvents events_{"producer"};
  ClientPtr producer_;
};

}  // namespace millrace::kafka
