#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <vector>

#include "codec/mapped_row_internal.h"
#include "codec/outcome_encoder.h"
#include "codec/output_text_internal.h"
#include "codec/text.h"
#include "types/element_type.h"

namespace millrace {
namespace {

// The shortest: "0,".
constexpr std::size_t kMinNumberBytes = 2;
// More than all fixed text and all small numbers of one value.
constexpr std::size_t kFixedValueBytes = 256;
// ":partition:offset" and the prefixes and names of the headers of a row.
constexpr std::size_t kFixedHeaderBytes = 128;

void AppendEscaped(std::string_view text, std::string* out) {
  const std::size_t start = out->size();
  out->resize(start + EscapedBound(text.size()));
  out->resize(static_cast<std::size_t>(WriteEscaped(text, out->data() + start) - out->data()));
}

char* WriteInteger(std::int64_t number, char* out) {
  return std::to_chars(out, out + kMaxNumberBytes, number).ptr;
}

// Microseconds as milliseconds with at most three decimals.
char* WriteMillis(std::int64_t micros, char* out) {
  out = WriteInteger(micros / 1000, out);
  const auto rest = static_cast<int>(micros % 1000);
  if (rest == 0) return out;
  *out++ = '.';
  *out++ = static_cast<char>('0' + rest / 100);
  if (rest % 100 == 0) return out;
  *out++ = static_cast<char>('0' + rest / 10 % 10);
  if (rest % 10 != 0) *out++ = static_cast<char>('0' + rest % 10);
  return out;
}

bool IsResultHeader(std::string_view name) {
  switch (name.size()) {
    case 6:
      return name == "source";
    case 8:
      return name == "model_id";
    case 9:
      return name == "tenant_id";
    case 13:
      return name == "model_version";
    default:
      return false;
  }
}

template <std::size_t kSize>
[[gnu::always_inline]] inline char* WriteHeaderPrefix(const char (&name)[kSize],
                                                      std::size_t value_size, char* out) {
  const std::uint16_t name_bytes = kSize - 1;
  const auto value_bytes = static_cast<std::uint32_t>(value_size);
  std::memcpy(out, &name_bytes, sizeof name_bytes);
  std::memcpy(out + sizeof name_bytes, &value_bytes, sizeof value_bytes);
  return Write(name, out + HeadersView::kPrefixBytes);
}

}  // namespace

struct ResultEncoder::Impl {
  void SetModel(const ModelRef& model, std::string_view status);
  void SetBatch(std::int32_t rows, WallMillis at, std::string_view time_name);
  void SetOutputs(std::span<const OutputView> views);
  void SetFields(std::span<const OutputView> views, const OutputMapping& mapping);
  // Whether the outputs of a row can be written, and their strings in how many bytes at most.
  std::optional<Failure> CheckOutputs(std::size_t row, std::size_t* bound) const;
  char* WriteOutputs(std::size_t row, char* out, bool* non_finite) const;
  char* WriteHeaders(const InferenceRequest& request, const RecordOrigin& origin, char* out) const;
  char* WriteValue(const InferenceRequest& request, std::size_t row, Micros latency,
                   char* out) const;

  CodecLimits limits;
  std::span<const OutputView> outputs;
  WallMillis now = 0;
  // `"name":` of the first outputs.size() outputs, with a comma before it except at the first.
  std::vector<std::string> names;
  std::size_t elements = 0;       // Values of one row.
  std::size_t outputs_bound = 0;  // Most bytes of one row's outputs, but for what is in strings.
  bool must_check = false;        // Some of the outputs are strings, or not fit for the fields.
  bool is_mapped = false;         // `fields` are written in the place of the outputs.
  MappedRow fields;
  std::string model_json;  // From the comma before "model_id" to the outputs' key.
  std::string batch_json;  // "batch_size" with the comma before it.
  std::string time_json;   // "inferred_at" or "expired_at" likewise.
  ByteBuffer model_headers;
};

void ResultEncoder::Impl::SetModel(const ModelRef& model, std::string_view status) {
  model_json = R"(","model_id":")";
  AppendEscaped(model.model_id, &model_json);
  model_json += R"(","model_version":")";
  AppendEscaped(model.version, &model_json);
  if (!model.sha256.empty()) {
    model_json += R"(","model_sha256":")";
    model_json += model.sha256;
  }
  fmt::format_to(std::back_inserter(model_json), R"(","status":"{}")", status);
  if (!outputs.empty()) {
    const bool is_flat = outputs.size() == 1 && !is_mapped;
    model_json += is_flat ? R"(,"output":)" : R"(,"outputs":{)";
  }
  model_headers.Clear();
  AppendHeader("model_id", model.model_id, model_headers);
  AppendHeader("model_version", model.version, model_headers);
}

void ResultEncoder::Impl::SetOutputs(std::span<const OutputView> views) {
  outputs = views;
  is_mapped = false;
  elements = 0;
  outputs_bound = 2;
  must_check = false;
  names.resize(std::max(names.size(), views.size()));
  for (std::size_t i = 0; i < views.size(); ++i) {
    const std::string& name = views[i].spec->name;
    std::string& key = names[i];
    key = i == 0 ? "\"" : ",\"";
    AppendEscaped(name, &key);
    key += "\":";
    elements += views[i].elements_per_row;
    must_check = must_check || views[i].spec->type == ElementType::kString;
    outputs_bound +=
        key.size() + BracketBytes(views[i].row_shape) + views[i].elements_per_row * kMaxNumberBytes;
  }
}

void ResultEncoder::Impl::SetFields(std::span<const OutputView> views,
                                    const OutputMapping& mapping) {
  fields.Begin(mapping, views);
  outputs = views;
  is_mapped = true;
  elements = fields.values();
  outputs_bound = fields.bound() + 2;
  must_check = fields.must_check();
}

std::optional<Failure> ResultEncoder::Impl::CheckOutputs(std::size_t row,
                                                         std::size_t* bound) const {
  const auto max_bytes = static_cast<std::size_t>(limits.max_result_bytes);
  std::size_t bytes = 0;
  if (is_mapped) {
    if (auto failure = fields.Check(row, max_bytes, &bytes)) return failure;
  } else {
    for (const OutputView& view : outputs) {
      if (view.spec->type != ElementType::kString) continue;
      const auto* const texts =
          static_cast<const std::string_view*>(view.data) + row * view.elements_per_row;
      if (auto failure =
              CheckTexts(view.spec->name, {texts, view.elements_per_row}, 0, max_bytes, &bytes)) {
        return failure;
      }
    }
  }
  *bound = EscapedBound(bytes);
  return std::nullopt;
}

char* ResultEncoder::Impl::WriteOutputs(std::size_t row, char* out, bool* non_finite) const {
  if (outputs.empty()) return out;
  if (is_mapped) {
    out = fields.Write(row, out, non_finite);
    *out++ = '}';
    return out;
  }
  const bool flat = outputs.size() == 1;
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const OutputView& view = outputs[i];
    if (!flat) out = Write(names[i], out);
    out = DispatchElement(view.spec->type, [&]<class T>(std::type_identity<T>) {
      const T* numbers = static_cast<const T*>(view.data) + row * view.elements_per_row;
      return flat ? WriteFlat(numbers, view.elements_per_row, out, non_finite)
                  : WriteNested(numbers, view.row_shape, 0, out, non_finite);
    });
  }
  if (!flat) *out++ = '}';
  return out;
}

// Ours first, then the request's own in their order; those that are called as ours are left out.
char* ResultEncoder::Impl::WriteHeaders(const InferenceRequest& request, const RecordOrigin& origin,
                                        char* out) const {
  out = Write(model_headers.view(), out);
  out = WriteHeaderPrefix("tenant_id", request.tenant_id.size(), out);
  out = Write(request.tenant_id, out);
  std::array<char, 2 * kMaxNumberBytes + 2> place;
  char* end = place.data();
  *end++ = ':';
  end = WriteInteger(origin.partition, end);
  *end++ = ':';
  end = WriteInteger(origin.record->offset.value(), end);
  const std::string_view behind_topic(place.data(), static_cast<std::size_t>(end - place.data()));
  out = WriteHeaderPrefix("source", origin.topic.size() + behind_topic.size(), out);
  out = Write(behind_topic, Write(origin.topic, out));
  for (const Header& header : origin.record->headers) {
    if (IsResultHeader(header.name)) continue;
    // An entry is copied as it stands in the block: its prefix lies right before its name.
    const char* entry = header.name.data() - HeadersView::kPrefixBytes;
    out = Write({entry, HeadersView::kPrefixBytes + header.name.size() + header.value.size()}, out);
  }
  return out;
}

char* ResultEncoder::Impl::WriteValue(const InferenceRequest& request, std::size_t row,
                                      Micros latency, char* out) const {
  bool non_finite = false;
  out = Write(R"({"request_id":")", out);
  out = WriteEscaped(request.request_id, out);
  out = Write(R"(","tenant_id":")", out);
  out = WriteEscaped(request.tenant_id, out);
  out = Write(model_json, out);
  out = WriteOutputs(row, out, &non_finite);
  if (non_finite) out = Write(R"(,"non_finite":true)", out);
  out = Write(R"(,"latency_ms":)", out);
  out = WriteMillis(std::max<std::int64_t>(latency.count(), 0), out);
  out = Write(batch_json, out);
  if (!request.enqueued_at.empty()) {
    out = Write(R"(,"enqueued_at":")", out);
    // An RFC 3339 time has nothing to escape.
    out = Write(request.enqueued_at, out);
    *out++ = '"';
  }
  out = Write(time_json, out);
  if (!request.metadata.empty()) {
    out = Write(R"(,"metadata":)", out);
    out = Write(request.metadata, out);
  }
  *out++ = '}';
  return out;
}

ResultEncoder::ResultEncoder(const CodecLimits& limits) : impl_(std::make_unique<Impl>()) {
  impl_->limits = limits;
}

ResultEncoder::~ResultEncoder() = default;

void ResultEncoder::Impl::SetBatch(std::int32_t rows, WallMillis at, std::string_view time_name) {
  now = at;
  std::array<char, kRfc3339MillisBytes> time;
  FormatRfc3339Millis(now, time.data());
  batch_json.clear();
  fmt::format_to(std::back_inserter(batch_json), R"(,"batch_size":{})", rows);
  time_json.clear();
  fmt::format_to(std::back_inserter(time_json), R"(,"{}":"{}")", time_name,
                 std::string_view(time.data(), time.size()));
}

void ResultEncoder::BeginBatch(const ModelRef& model, std::span<const OutputView> outputs,
                               std::int32_t batch_rows, WallMillis now,
                               const OutputMapping* mapping) {
  if (mapping == nullptr) {
    impl_->SetOutputs(outputs);
  } else {
    impl_->SetFields(outputs, *mapping);
  }
  impl_->SetModel(model, "ok");
  impl_->SetBatch(batch_rows, now, "inferred_at");
}

void ResultEncoder::BeginExpired(const ModelRef& model, WallMillis now) {
  impl_->SetOutputs({});
  impl_->SetModel({model.model_id, model.version, ""}, "expired");  // No file has made it.
  impl_->SetBatch(0, now, "expired_at");
}

std::optional<Failure> ResultEncoder::EncodeRow(const InferenceRequest& request,
                                                const RecordOrigin& origin, std::size_t row,
                                                Micros latency, OutputChunk& chunk,
                                                OutputRecord* out) {
  const Impl& impl = *impl_;
  const auto max_bytes = static_cast<std::size_t>(impl.limits.max_result_bytes);
  // Before anything is claimed, so that a claim is at most a small multiple of the limit.
  if (impl.elements > max_bytes / kMinNumberBytes) {
    return Failure{FailureReason::kOutputTooLarge,
                   fmt::format("output has {} values, which exceeds {} bytes "
                               "(limits.max_result_bytes)",
                               impl.elements, max_bytes)};
  }
  const std::size_t headers_bound = impl.model_headers.size() + kFixedHeaderBytes +
                                    request.tenant_id.size() + origin.topic.size() +
                                    origin.record->headers.block().size();
  std::size_t text_bound = 0;
  if (impl.must_check) {
    if (auto failure = impl.CheckOutputs(row, &text_bound)) return failure;
  }
  const std::size_t value_bound =
      EscapedBound(request.request_id.size()) + EscapedBound(request.tenant_id.size()) +
      impl.model_json.size() + impl.outputs_bound + impl.batch_json.size() + impl.time_json.size() +
      request.enqueued_at.size() + request.metadata.size() + text_bound + kFixedValueBytes;
  char* const key = chunk.bytes.Claim(request.request_id.size() + headers_bound + value_bound);
  char* const headers = Write(request.request_id, key);
  char* const value = impl.WriteHeaders(request, origin, headers);
  char* const end = impl.WriteValue(request, row, latency, value);
  const auto value_bytes = static_cast<std::size_t>(end - value);
  if (value_bytes > max_bytes) {
    return Failure{FailureReason::kOutputTooLarge,
                   fmt::format("result has {} bytes, at most {} are allowed "
                               "(limits.max_result_bytes)",
                               value_bytes, max_bytes)};
  }
  const auto span = [&chunk](const char* from, const char* to) {
    return ByteSpan{static_cast<std::uint32_t>(from - chunk.bytes.data()),
                    static_cast<std::uint32_t>(to - from)};
  };
  out->chunk = &chunk;
  out->key = span(key, headers);
  out->headers = span(headers, value);
  out->value = span(value, end);
  out->timestamp = impl.now;
  out->topic = OutputTopic::kResults;
  chunk.bytes.CommitTo(end);
  return std::nullopt;
}

}  // namespace millrace
