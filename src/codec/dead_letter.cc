// The dead letter half of outcome_encoder.h.
#include <array>

#include "codec/failure_headers_internal.h"
#include "codec/outcome_encoder.h"
#include "codec/replayed_record.h"
#include "codec/text.h"

namespace millrace {
namespace {

// Where Kafka Connect's own tools would place the failure.
std::string_view ConnectStage(FailureReason reason) {
  switch (reason) {
    case FailureReason::kDecode:
    case FailureReason::kMissingModelId:
    case FailureReason::kUnknownModel:
    case FailureReason::kInvalidShape:
    case FailureReason::kInvalidValue:
    case FailureReason::kTooLarge:
    case FailureReason::kPolicy:
      return "VALUE_CONVERTER";
    case FailureReason::kExpired:
    case FailureReason::kInferenceError:
    case FailureReason::kInferenceTimeout:
    case FailureReason::kModelCrash:
    case FailureReason::kOutputTooLarge:
      return "TASK_PUT";
  }
  return "TASK_PUT";
}

// Whether the request has the header `name` with this value. It then stays where it is, so that a
// replay knows it for the request's own.
bool SaysItself(const Record& record, std::string_view name, std::string_view value) {
  return record.headers.Find(name) == value;
}

bool IsReplaced(std::string_view name, const DeadLetterContext& context, const Record& record) {
  // The request's own word stands where nothing better is known.
  if (name == "model_id") {
    return !context.model_id.empty() && !SaysItself(record, name, context.model_id);
  }
  if (name == "tenant_id") {
    return !context.tenant_id.empty() && !SaysItself(record, name, context.tenant_id);
  }
  return IsFailureHeader(name);
}

void WriteFailureHeaders(const RecordOrigin& origin, const Failure& failure,
                         const DeadLetterContext& context, ByteBuffer& bytes) {
  const Record& record = *origin.record;
  const std::string_view reason = FailureReasonName(failure.reason);
  const std::string detail = OneLine(failure.detail);
  std::array<char, kRfc3339MillisBytes> failed_at;
  FormatRfc3339Millis(context.now, failed_at.data());

  HeaderWriter writer(bytes);
  writer.Text("original_topic", origin.topic);
  writer.Integer("original_partition", origin.partition);
  writer.Integer("original_offset", record.offset.value());
  writer.Integer("original_timestamp", record.timestamp);
  if (record.has_key) {
    writer.Text("original_key", record.key);
  } else {
    AppendNullHeader("original_key", bytes);
  }
  if (!record.has_value) writer.Text("original_value_null", "true");
  writer.Text("reason", reason);
  writer.Text("detail", detail);
  writer.Text("failed_at", {failed_at.data(), failed_at.size()});
  writer.Integer(kAttempts, EarlierAttempts(record.headers) + context.attempts);
  if (!SaysItself(record, "model_id", context.model_id)) {
    writer.Known("model_id", context.model_id);
  }
  writer.Known("model_version", context.model_version);
  if (!SaysItself(record, "tenant_id", context.tenant_id)) {
    writer.Known("tenant_id", context.tenant_id);
  }
  writer.Text("consumer_group", context.consumer_group);

  writer.Text("__connect.errors.topic", origin.topic);
  writer.Integer("__connect.errors.partition", origin.partition);
  writer.Integer("__connect.errors.offset", record.offset.value());
  writer.Text("__connect.errors.connector.name", context.consumer_group);
  writer.Text("__connect.errors.stage", ConnectStage(failure.reason));
  writer.Text("__connect.errors.exception.class.name", reason);
  writer.Text("__connect.errors.exception.message", detail);
}

}  // namespace

void EncodeDeadLetter(const RecordOrigin& origin, const Failure& failure,
                      const DeadLetterContext& context, OutputChunk& chunk, OutputRecord* out) {
  const Record& record = *origin.record;
  ByteBuffer& bytes = chunk.bytes;
  const auto span_from = [&bytes](std::size_t from) {
    return ByteSpan{static_cast<std::uint32_t>(from),
                    static_cast<std::uint32_t>(bytes.size() - from)};
  };
  const std::size_t key = bytes.size();
  bytes.Append(context.tenant_id.empty() ? record.key : context.tenant_id);
  out->key = span_from(key);

  const std::size_t headers = bytes.size();
  HeaderWriter writer(bytes);
  for (const Header& header : record.headers) {
    if (!IsReplaced(header.name, context, record)) writer.Copy(header);
  }
  WriteFailureHeaders(origin, failure, context, bytes);
  out->headers = span_from(headers);

  const std::size_t value = bytes.size();
  bytes.Append(record.value);
  out->value = span_from(value);
  out->chunk = &chunk;
  out->timestamp = context.now;
  out->topic = OutputTopic::kDeadLetters;
}

}  // namespace millrace
