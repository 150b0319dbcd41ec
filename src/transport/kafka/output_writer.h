// OutputWriter: hands encoded outcomes to a producer of librdkafka without copying their payloads.
//
// A payload stays borrowed until its delivery report, so the outcomes of a unit must outlive the
// producer's work on it: after a flush, a commit, an abort or the producer's end nothing is
// borrowed. WriteCopy borrows nothing and tells what became of each record: for whoever cannot call
// a record back and must not write it twice. Internal to transport/kafka. One thread at a time;
// delivery reports arrive on the thread that polls the producer, which is the same one.
#pragma once

#include <array>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "transport/kafka/handles.h"
#include "transport/options.h"
#include "types/record.h"

namespace millrace::kafka {

// Room that the client and the broker take for a record beside its key, value and headers.
inline constexpr std::size_t kRecordOverhead = 512;

// The largest record that each output topic takes, in bytes of key, value and headers.
struct OutputLimits {
  std::array<std::size_t, kOutputTopics> max_bytes{};  // 0: not known.
};

class OutputWriter {
 public:
  OutputWriter(const TopicOptions& topics, const OutputLimits& limits)
      : topics_(topics), limits_(limits) {}

  // Sets the delivery callback; its opaque must be a ClientEvents whose owner is this writer.
  static void Register(rd_kafka_conf_t* conf);
  // Writes through `producer` from now on. Detach before the producer ends.
  Status Attach(rd_kafka_t* producer);
  void Detach();

  // Queues all of `outputs`; waits for room in the producer's queue until `deadline`.
  Status Write(std::span<const OutputRecord* const> outputs, MonoTime deadline);

  // The first failed delivery since the last call; OK when there was none.
  Status TakeDeliveryError();

  // Queues one output, which may go afterwards.
  Status WriteCopy(const OutputRecord& output, std::size_t number, MonoTime deadline);
  // Deliveries of such outputs that failed since the last call.
  struct Failure {
    std::size_t number = 0;
    bool maybe_written = false;  // The cluster did not say no.
  };
  std::vector<Failure> TakeFailures() { return std::exchange(failures_, {}); }

 private:
  static void OnDelivery(rd_kafka_t* producer, const rd_kafka_message_t* message, void* opaque);
  // Waits for room in the producer's queue until `deadline`.
  rd_kafka_resp_err_t WriteWithRoom(const OutputRecord& output, int flags, void* mark,
                                    MonoTime deadline);
  rd_kafka_resp_err_t WriteOne(const OutputRecord& output, int flags, void* mark);
  // Null when there are none. `value_size`: of what is written of the value.
  HeadersPtr EncodeHeaders(const OutputRecord& output, std::size_t value_size);
  // The part of a dead letter's value that the topic takes; all of it, as a rule.
  std::string_view ValueThatFits(const OutputRecord& output) const;

  const TopicOptions topics_;
  const OutputLimits limits_;
  rd_kafka_t* producer_ = nullptr;
  std::array<TopicPtr, kOutputTopics> handles_;
  Status delivery_error_;
  std::vector<Failure> failures_;
  ByteBuffer headers_;  // Of the output at hand, as they go on the wire.
};

}  // namespace millrace::kafka
