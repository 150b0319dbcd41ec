#include "transport/kafka/output_writer.h"

#include <fmt/format.h>

#include <cstdint>
#include <cstring>

#include "base/crash_point.h"
#include "transport/kafka/client_events.h"
#include "transport/kafka/error.h"

namespace millrace::kafka {
namespace {

// Added to a dead letter whose value had to be cut to fit the topic.
constexpr std::string_view kTruncatedFrom = "original_value_bytes";
// A payload is, until its delivery report.
constexpr int kBorrowed = 0;

// What the two lengths of a header take on the wire at most, as varints of 32 bits.
constexpr std::size_t kMaxLengths = 10;

// A length as a record carries it: a zigzag varint; -1 stands for null.
char* PutLength(std::int32_t length, char* to) {
  auto rest = (static_cast<std::uint32_t>(length) << 1) ^ static_cast<std::uint32_t>(length >> 31);
  for (; rest >= 0x80; rest >>= 7) *to++ = static_cast<char>(rest | 0x80);
  *to++ = static_cast<char>(rest);
  return to;
}

char* PutBytes(std::string_view bytes, char* to) {
  if (!bytes.empty()) std::memcpy(to, bytes.data(), bytes.size());
  return to + bytes.size();
}

void AppendEncoded(const Header& header, ByteBuffer* out) {
  char* to = out->Claim(kMaxLengths + header.name.size() + header.value.size());
  to = PutBytes(header.name, PutLength(static_cast<std::int32_t>(header.name.size()), to));
  to = PutLength(header.is_null ? -1 : static_cast<std::int32_t>(header.value.size()), to);
  out->CommitTo(PutBytes(header.value, to));
}

}  // namespace

void OutputWriter::Register(rd_kafka_conf_t* conf) {
  // With it a flush is woken by each delivery; without, every commit takes 10 ms more.
  rd_kafka_conf_set_dr_msg_cb(conf, &OutputWriter::OnDelivery);
}

Status OutputWriter::Attach(rd_kafka_t* producer) {
  producer_ = producer;
  delivery_error_ = Status();
  failures_.clear();
  const std::array<const std::string*, kOutputTopics> names = {&topics_.results, &topics_.dlq};
  for (std::size_t i = 0; i < kOutputTopics; ++i) {
    handles_[i].reset(rd_kafka_topic_new(producer, names[i]->c_str(), nullptr));
    if (handles_[i] == nullptr) return StatusOf(rd_kafka_last_error(), "opening " + *names[i]);
  }
  return {};
}

void OutputWriter::Detach() {
  for (TopicPtr& handle : handles_) handle.reset();
  producer_ = nullptr;
}

rd_kafka_resp_err_t OutputWriter::WriteWithRoom(const OutputRecord& output, int flags, void* mark,
                                                MonoTime deadline) {
  constexpr int kRoomWaitMs = 10;
  rd_kafka_resp_err_t error = WriteOne(output, flags, mark);
  while (error == RD_KAFKA_RESP_ERR__QUEUE_FULL && SystemClock().Now() < deadline) {
    rd_kafka_poll(producer_, kRoomWaitMs);
    error = WriteOne(output, flags, mark);
  }
  return error;
}

Status OutputWriter::Write(std::span<const OutputRecord* const> outputs, MonoTime deadline) {
  bool first = true;
  for (const OutputRecord* output : outputs) {
    const rd_kafka_resp_err_t error = WriteWithRoom(*output, kBorrowed, nullptr, deadline);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) return StatusOf(error, "writing an outcome");
    if (first) CrashPoint("first_produced");
    first = false;
  }
  // Frees what the log has taken meanwhile, for the next records to use while it is in the cache.
  rd_kafka_poll(producer_, 0);
  return {};
}

Status OutputWriter::WriteCopy(const OutputRecord& output, std::size_t number, MonoTime deadline) {
  // Never null, which says that nobody asks.
  void* const mark = reinterpret_cast<void*>(static_cast<std::uintptr_t>(number) + 1);
  return StatusOf(WriteWithRoom(output, RD_KAFKA_MSG_F_COPY, mark, deadline), "writing an outcome");
}

std::string_view OutputWriter::ValueThatFits(const OutputRecord& output) const {
  const std::string_view value = output.Value();
  const std::size_t limit = limits_.max_bytes[static_cast<std::size_t>(output.topic)];
  if (limit == 0 || output.bytes() + kRecordOverhead <= limit) return value;
  const std::size_t over = output.bytes() + kRecordOverhead - limit;
  return value.substr(0, value.size() - std::min(over, value.size()));
}

// Encoded here and given to the client as one block: one by one, they would be most of what a
// result costs there.
HeadersPtr OutputWriter::EncodeHeaders(const OutputRecord& output, std::size_t value_size) {
  std::size_t count = 0;
  headers_.Clear();
  for (const Header& header : output.Headers()) {
    AppendEncoded(header, &headers_);
    ++count;
  }
  if (value_size != output.Value().size()) {
    const std::string size = std::to_string(output.Value().size());
    AppendEncoded({kTruncatedFrom, size}, &headers_);
    ++count;
  }
  if (count == 0) return nullptr;
  return HeadersPtr(rd_kafka_headers_new_encoded(headers_.data(), headers_.size(), count));
}

rd_kafka_resp_err_t OutputWriter::WriteOne(const OutputRecord& output, int flags, void* mark) {
  const std::string_view key = output.Key();
  const std::string_view value = ValueThatFits(output);
  HeadersPtr headers = EncodeHeaders(output, value.size());
  std::array<rd_kafka_vu_t, 7> fields;
  fields[0].vtype = RD_KAFKA_VTYPE_RKT;
  fields[0].u.rkt = handles_[static_cast<std::size_t>(output.topic)].get();
  fields[1].vtype = RD_KAFKA_VTYPE_KEY;
  fields[1].u.mem.ptr = key.empty() ? nullptr : const_cast<char*>(key.data());
  fields[1].u.mem.size = key.size();
  fields[2].vtype = RD_KAFKA_VTYPE_VALUE;
  fields[2].u.mem.ptr = const_cast<char*>(value.data());
  fields[2].u.mem.size = value.size();
  fields[3].vtype = RD_KAFKA_VTYPE_TIMESTAMP;
  fields[3].u.i64 = output.timestamp;
  fields[4].vtype = RD_KAFKA_VTYPE_MSGFLAGS;
  fields[4].u.i = flags;
  fields[5].vtype = RD_KAFKA_VTYPE_HEADERS;
  fields[5].u.headers = headers.get();
  fields[6].vtype = RD_KAFKA_VTYPE_OPAQUE;
  fields[6].u.ptr = mark;
  const ErrorPtr error(rd_kafka_produceva(producer_, fields.data(), fields.size()));
  if (error != nullptr) return rd_kafka_error_code(error.get());
  static_cast<void>(headers.release());  // Now the producer's.
  return RD_KAFKA_RESP_ERR_NO_ERROR;
}

void OutputWriter::OnDelivery(rd_kafka_t*, const rd_kafka_message_t* message, void* opaque) {
  if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) return;
  // What an abort threw away was not refused by anybody.
  if (message->err == RD_KAFKA_RESP_ERR__PURGE_QUEUE ||
      message->err == RD_KAFKA_RESP_ERR__PURGE_INFLIGHT) {
    return;
  }
  auto* const self = ClientEvents::OwnerOf<OutputWriter>(opaque);
  if (message->_private != nullptr) {
    const bool refused = rd_kafka_message_status(message) == RD_KAFKA_MSG_STATUS_NOT_PERSISTED;
    const auto number =
        static_cast<std::size_t>(reinterpret_cast<std::uintptr_t>(message->_private) - 1);
    self->failures_.push_back({number, !refused});
  }
  if (!self->delivery_error_.ok()) return;
  self->delivery_error_ =
      StatusOf(message->err, fmt::format("writing to {} partition {}",
                                         rd_kafka_topic_name(message->rkt), message->partition));
}

Status OutputWriter::TakeDeliveryError() {
  Status error = std::move(delivery_error_);
  delivery_error_ = Status();
  return error;
}

}  // namespace millrace::kafka
