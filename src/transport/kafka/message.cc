#include "transport/kafka/message.h"

#include <algorithm>

namespace millrace::kafka {
namespace {

std::string_view Bytes(const void* data, std::size_t size) {
  return {static_cast<const char*>(data), size};
}

}  // namespace

void MessageCopier::Add(const rd_kafka_message_t& message, PartitionSlot slot) {
  ByteBuffer& bytes = batch_->bytes;
  Spans spans;
  spans.key_at = bytes.size();
  bytes.Append(Bytes(message.key, message.key_len));
  spans.headers_at = bytes.size();
  CopyHeaders(message);
  spans.value_at = bytes.size();
  bytes.Append(Bytes(message.payload, message.len));
  spans.end = bytes.size();
  spans_.push_back(spans);
  Record& record = batch_->records.emplace_back();
  record.offset = Offset(message.offset);
  rd_kafka_timestamp_type_t type;
  record.timestamp = std::max<WallMillis>(0, rd_kafka_message_timestamp(&message, &type));
  record.slot = slot;
  record.has_key = message.key != nullptr;
  record.has_value = message.payload != nullptr;
}

void MessageCopier::CopyHeaders(const rd_kafka_message_t& message) {
  rd_kafka_headers_t* headers = nullptr;
  if (rd_kafka_message_headers(&message, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR) return;
  const char* name = nullptr;
  const void* value = nullptr;
  std::size_t size = 0;
  for (std::size_t i = 0;
       rd_kafka_header_get_all(headers, i, &name, &value, &size) == RD_KAFKA_RESP_ERR_NO_ERROR;
       ++i) {
    if (value == nullptr) {
      AppendNullHeader(name, batch_->bytes);
    } else {
      AppendHeader(name, Bytes(value, size), batch_->bytes);
    }
  }
}

void MessageCopier::Finish() {
  const ByteBuffer& bytes = batch_->bytes;
  for (std::size_t i = 0; i < spans_.size(); ++i) {
    const Spans& spans = spans_[i];
    Record& record = batch_->records[i];
    record.key = bytes.view(spans.key_at, spans.headers_at - spans.key_at);
    record.headers = HeadersView(bytes.view(spans.headers_at, spans.value_at - spans.headers_at));
    record.value = bytes.view(spans.value_at, spans.end - spans.value_at);
  }
}

}  // namespace millrace::kafka
