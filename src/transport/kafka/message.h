// Messages of librdkafka as records: their bytes are copied into the batch.
//
// Copied, because a message pins the whole response that it came in, and because a value has to be
// followed by readable bytes; a memcpy of a request costs a hundredth of its decoding.
// Internal to transport/kafka.
#pragma once

#include <librdkafka/rdkafka.h>

#include <vector>

#include "types/record.h"

namespace millrace::kafka {

class MessageCopier {
 public:
  // Clears the batch.
  explicit MessageCopier(RecordBatch* batch) : batch_(batch) { batch_->Clear(); }

  // REQUIRES: the message has no error.
  void Add(const rd_kafka_message_t& message, PartitionSlot slot);
  // Makes the views of all records, once their bytes do not move any more.
  void Finish();

  // Whether a record of `slot` would be the first of a run of that partition.
  bool StartsRun(PartitionSlot slot) const {
    return batch_->records.empty() || batch_->records.back().slot != slot;
  }
  std::size_t records() const { return batch_->records.size(); }
  std::size_t bytes() const { return batch_->bytes.size(); }

 private:
  struct Spans {
    std::size_t key_at = 0;
    std::size_t headers_at = 0;
    std::size_t value_at = 0;
    std::size_t end = 0;
  };

  void CopyHeaders(const rd_kafka_message_t& message);

  RecordBatch* batch_;
  std::vector<Spans> spans_;
};

}  // namespace millrace::kafka
