#include "codec/request_decoder.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "codec/outcome_encoder.h"
#include "codec/plain_json_internal.h"
#include "codec/request_headers.h"
#include "codec/strict_json_internal.h"
#include "codec/string_scratch.h"
#include "codec/tensor_reader_internal.h"
#include "codec/text.h"

namespace millrace {
namespace {

constexpr std::int64_t kMaxTimeoutMs = 86'400'000;
constexpr std::int64_t kMaxPriority = 1000;

enum Field : unsigned {
  kRequestId,
  kTenantId,
  kModelId,
  kModelVersion,
  kInput,
  kInputs,
  kMetadata,
  kEnqueuedAt,
  kTimeoutMs,
  kPriority,
  kUnknown,
};

Field FieldOf(std::string_view key) {
  const auto is = [key](std::string_view name, Field field) {
    return key == name ? field : kUnknown;
  };
  switch (key.size()) {
    case 5:
      return is("input", kInput);
    case 6:
      return is("inputs", kInputs);
    case 8:
      return key[0] == 'm' && key[2] == 'd' ? is("model_id", kModelId)
             : key[0] == 'm'                ? is("metadata", kMetadata)
                                            : is("priority", kPriority);
    case 9:
      return is("tenant_id", kTenantId);
    case 10:
      return key[0] == 'r' ? is("request_id", kRequestId) : is("timeout_ms", kTimeoutMs);
    case 11:
      return is("enqueued_at", kEnqueuedAt);
    case 13:
      return is("model_version", kModelVersion);
    default:
      return kUnknown;
  }
}

// What Begin leaves for Finish, and what is reused from record to record.
struct DecoderState {
  CodecLimits limits;
  StrictJson json;
  RequestHeaders headers;
  std::vector<std::byte> elements;  // Of a tensor whose size is not known yet.
};

// One pass over one value. Functions that answer bool say whether the value is well-formed so far;
// what is merely not acceptable is kept by Reject, first one wins, and reading goes on, so that a
// dead letter knows the ids that come later.
class ValueReader {
 public:
  // Without `tensor` the input is only checked for being JSON.
  ValueReader(DecoderState& state, const Record& record, std::optional<TensorReader> tensor,
              StringScratch& scratch, InferenceRequest* request)
      : limits_(state.limits),
        headers_(state.headers),
        json_(state.json),
        record_(record),
        tensor_(tensor),
        scratch_(scratch),
        request_(request) {}

  // Reads a value that is plain from end to end. False: it is not, and this reader is spent.
  bool ReadPlain();
  // Reads any value.
  void ReadStrictly();
  std::optional<Failure> TakeFailure() { return json_.TakeFailure(); }

 private:
  bool ReadPlainField(Field field, PlainJson& json);
  bool OnTopField(ondemand::field& field);
  bool ReadField(Field field, ondemand::value& value);
  bool ReadOptionalField(Field field, ondemand::value& value);
  bool ReadText(std::string_view name, ondemand::value& value, std::string_view* out);
  bool ReadId(std::string_view name, ondemand::value& value, std::string_view from_header,
              std::string_view* out);
  bool ReadModelName(std::string_view name, ondemand::value& value, std::string_view from_header,
                     std::string_view* out);
  void TakeId(std::string_view name, std::string_view id, std::string_view from_header,
              std::string_view* out);
  void TakeModelName(std::string_view name, std::string_view id, std::string_view from_header,
                     std::string_view* out);
  void TakeEnqueuedAt(std::string_view text);
  void TakeMetadata(std::string_view text);
  void Merge(std::string_view name, std::string_view from_value, std::string_view from_header,
             std::string_view* out);
  void RejectContradiction(std::string_view name, std::string_view from_value,
                           std::string_view from_header);
  void RejectName(std::optional<Failure> failure);
  bool ReadInteger(std::string_view name, ondemand::value& value, std::int64_t min,
                   std::int64_t max, std::int64_t* out);
  bool ReadEnqueuedAt(ondemand::value& value);
  bool ReadMetadata(ondemand::value& value);
  void CheckComplete();
  void SetDeadline();

  void Reject(FailureReason reason, std::string detail) { json_.Reject(reason, std::move(detail)); }
  bool Seen(Field field) const { return (seen_ & (1U << field)) != 0; }

  const CodecLimits& limits_;
  const RequestHeaders& headers_;
  StrictJson& json_;
  const Record& record_;
  std::optional<TensorReader> tensor_;
  StringScratch& scratch_;
  InferenceRequest* request_;
  unsigned seen_ = 0;
  std::int64_t timeout_ms_ = 0;
  std::int64_t priority_ = 0;
  WallMillis enqueued_ = 0;
};

bool ValueReader::ReadPlain() {
  PlainJson json(record_.value);
  if (!json.Take('{')) return false;
  do {
    std::string_view key;
    if (!json.ReadKey(&key)) return false;
    const Field field = FieldOf(key);
    if (field == kUnknown || Seen(field)) return false;
    seen_ |= 1U << field;
    if (!ReadPlainField(field, json)) return false;
  } while (json.Take(','));
  if (!json.Take('}') || !json.AtEnd()) return false;
  CheckComplete();
  SetDeadline();
  return true;
}

// Rejects what ReadField rejects, in the same words; whatever is said about the form of a value is
// left to that.
bool ValueReader::ReadPlainField(Field field, PlainJson& json) {
  std::string_view text;
  switch (field) {
    case kRequestId:
      if (!json.ReadString(&text)) return false;
      TakeId("request_id", text, headers_.request_id, &request_->request_id);
      return true;
    case kTenantId:
      if (!json.ReadString(&text)) return false;
      TakeId("tenant_id", text, headers_.tenant_id, &request_->tenant_id);
      return true;
    case kModelId:
      if (!json.ReadString(&text)) return false;
      TakeModelName("model_id", text, headers_.model_id, &request_->model_id);
      return true;
    case kModelVersion:
      if (!json.ReadString(&text)) return false;
      TakeModelName("model_version", text, {}, &request_->model_version);
      return true;
    case kInput:
      return tensor_ && tensor_->ReadPlainInput(json);
    case kMetadata:
      if (!json.ReadObjectOfStrings(&text)) return false;
      TakeMetadata(text);
      return true;
    case kEnqueuedAt:
      if (!json.ReadString(&text)) return false;
      TakeEnqueuedAt(text);
      return true;
    case kTimeoutMs:
      return json.ReadInteger(&timeout_ms_) && timeout_ms_ >= 1 && timeout_ms_ <= kMaxTimeoutMs;
    default:
      return false;
  }
}

void ValueReader::ReadStrictly() {
  ondemand::object object;
  if (json_.Open(record_.value, &object) &&
      json_.ReadFields(object, [this](ondemand::field& field) { return OnTopField(field); }) &&
      json_.Close()) {
    if (tensor_) CheckComplete();
    SetDeadline();
  }
}

bool ValueReader::OnTopField(ondemand::field& field) {
  // Read once: taking the unescaped key uses the field's key up.
  const std::string_view key = RawKey(field);
  Field id = FieldOf(key);
  if (id == kUnknown) [[unlikely]] {
    if (!json_.PushKey(field)) return false;
    id = FieldOf(json_.last_key());
    if (id == kUnknown) return json_.Skip(field.value(), 1);
    json_.PopKey();  // A known key that was written with escapes.
  }
  if (Seen(id)) {
    return json_.MalformedAt(fmt::format("key {} occurs twice", Excerpt(key)));
  }
  seen_ |= 1U << id;
  return ReadField(id, field.value());
}

bool ValueReader::ReadField(Field field, ondemand::value& value) {
  switch (field) {
    case kRequestId:
      return ReadId("request_id", value, headers_.request_id, &request_->request_id);
    case kTenantId:
      return ReadId("tenant_id", value, headers_.tenant_id, &request_->tenant_id);
    case kModelId:
      return ReadModelName("model_id", value, headers_.model_id, &request_->model_id);
    case kInput:
      return tensor_ ? tensor_->ReadInput(value) : json_.Skip(value, 1);
    case kInputs:
      return tensor_ ? tensor_->ReadNamedInputs(value) : json_.Skip(value, 1);
    default:
      // Serializers write null for what is not set.
      if (value.raw_json_token().front() == 'n') return json_.Skip(value, 1);
      return ReadOptionalField(field, value);
  }
}

bool ValueReader::ReadOptionalField(Field field, ondemand::value& value) {
  switch (field) {
    case kModelVersion:
      return ReadModelName("model_version", value, {}, &request_->model_version);
    case kMetadata:
      return ReadMetadata(value);
    case kEnqueuedAt:
      return ReadEnqueuedAt(value);
    case kTimeoutMs:
      return ReadInteger("timeout_ms", value, 1, kMaxTimeoutMs, &timeout_ms_);
    case kPriority:
      if (!ReadInteger("priority", value, -kMaxPriority, kMaxPriority, &priority_)) return false;
      request_->priority = static_cast<std::int32_t>(priority_);
      return true;
    default:
      return json_.Skip(value, 1);
  }
}

// Text of a string at a stable address; `out` stays null when the value is no string.
bool ValueReader::ReadText(std::string_view name, ondemand::value& value, std::string_view* out) {
  if (value.raw_json_token().front() != '"') {
    Reject(FailureReason::kInvalidValue,
           fmt::format("{} is {}, expected a string", name, TypeName(value)));
    return json_.Skip(value, 1);
  }
  if (!json_.ReadString(value, out)) return false;
  if (!out->empty() && !json_.IsInText(*out)) *out = scratch_.Copy(*out);
  return true;
}

bool ValueReader::ReadId(std::string_view name, ondemand::value& value,
                         std::string_view from_header, std::string_view* out) {
  std::string_view id;
  if (!ReadText(name, value, &id)) return false;
  if (id.data() != nullptr) TakeId(name, id, from_header, out);
  return true;
}

void ValueReader::TakeId(std::string_view name, std::string_view id, std::string_view from_header,
                         std::string_view* out) {
  if (IsId(id, limits_.max_id_bytes)) [[likely]] {
    Merge(name, id, from_header, out);
  } else {
    RejectName(CheckId(name, id, limits_.max_id_bytes));
  }
}

bool ValueReader::ReadModelName(std::string_view name, ondemand::value& value,
                                std::string_view from_header, std::string_view* out) {
  std::string_view id;
  if (!ReadText(name, value, &id)) return false;
  if (id.data() != nullptr) TakeModelName(name, id, from_header, out);
  return true;
}

void ValueReader::TakeModelName(std::string_view name, std::string_view id,
                                std::string_view from_header, std::string_view* out) {
  if (id == from_header && !id.empty()) {
    *out = id;  // Was checked as a header.
  } else if (auto failure = CheckModelName(name, id, limits_.max_id_bytes)) {
    RejectName(std::move(failure));
  } else {
    Merge(name, id, from_header, out);
  }
}

void ValueReader::Merge(std::string_view name, std::string_view from_value,
                        std::string_view from_header, std::string_view* out) {
  if (!from_header.empty() && from_header != from_value) [[unlikely]] {
    return RejectContradiction(name, from_value, from_header);
  }
  *out = from_value;
}

// Out of line, as RejectName is: what builds a detail needs a frame that good ids can do without.
[[gnu::noinline]] void ValueReader::RejectContradiction(std::string_view name,
                                                        std::string_view from_value,
                                                        std::string_view from_header) {
  Reject(FailureReason::kInvalidValue,
         fmt::format("{} contradicts itself: the header says {}, the value says {}", name,
                     Excerpt(from_header), Excerpt(from_value)));
}

[[gnu::noinline]] void ValueReader::RejectName(std::optional<Failure> failure) {
  Reject(failure->reason, std::move(failure->detail));
}

bool ValueReader::ReadInteger(std::string_view name, ondemand::value& value, std::int64_t min,
                              std::int64_t max, std::int64_t* out) {
  std::int64_t number = 0;
  if (ReadNumber(value, &number) && number >= min && number <= max) {
    *out = number;
    return true;
  }
  const std::string_view token = TrimRight(value.raw_json_token());
  if (!json_.Skip(value, 1)) return false;
  Reject(FailureReason::kInvalidValue, fmt::format("{} is {}, expected an integer from {} to {}",
                                                   name, Excerpt(token), min, max));
  return true;
}

bool ValueReader::ReadEnqueuedAt(ondemand::value& value) {
  std::string_view text;
  if (!ReadText("enqueued_at", value, &text)) return false;
  if (text.data() != nullptr) TakeEnqueuedAt(text);
  return true;
}

void ValueReader::TakeEnqueuedAt(std::string_view text) {
  if (const auto time = ParseRfc3339(text)) {
    enqueued_ = *time;
    request_->enqueued_at = text;
  } else {
    Reject(FailureReason::kInvalidValue,
           fmt::format("enqueued_at is {}, expected an RFC 3339 time such as "
                       "2026-11-21T07:15:27.123Z",
                       Excerpt(text)));
  }
}

bool ValueReader::ReadMetadata(ondemand::value& value) {
  const char* begin = value.raw_json_token().data();
  if (*begin != '{') {
    Reject(FailureReason::kInvalidValue,
           fmt::format("metadata is {}, expected an object of strings", TypeName(value)));
    return json_.Skip(value, 1);
  }
  const bool well_formed = json_.ReadObject(value, 1, [this](ondemand::field& field) {
    if (!json_.PushKey(field)) return false;
    ondemand::value& entry = field.value();
    if (entry.raw_json_token().front() != '"') {
      Reject(FailureReason::kInvalidValue, fmt::format("metadata.{} is {}, expected a string",
                                                       Excerpt(json_.last_key()), TypeName(entry)));
    }
    return json_.Skip(entry, 2);
  });
  std::string_view text;
  if (!well_formed || !json_.RawTextFrom(begin, &text)) return false;
  TakeMetadata(text);
  return true;
}

void ValueReader::TakeMetadata(std::string_view text) {
  if (text.size() > static_cast<std::size_t>(limits_.max_metadata_bytes)) {
    Reject(FailureReason::kTooLarge,
           fmt::format("metadata has {} bytes, at most {} are allowed (limits.max_metadata_bytes)",
                       text.size(), limits_.max_metadata_bytes));
    return;
  }
  request_->metadata = text;
}

void ValueReader::CheckComplete() {
  if (!Seen(kRequestId) && request_->request_id.empty()) {
    Reject(FailureReason::kInvalidValue, "request_id is missing in value and headers");
  }
  if (!Seen(kTenantId) && request_->tenant_id.empty()) {
    Reject(FailureReason::kInvalidValue,
           "tenant_id is missing in value, headers and key (tenant_id|model_id)");
  }
  if (Seen(kInput) && Seen(kInputs)) {
    Reject(FailureReason::kInvalidValue, "both input and inputs are given, expected one");
  }
  if (!Seen(kInput) && !Seen(kInputs)) tensor_->RejectMissing();
}

void ValueReader::SetDeadline() {
  request_->deadline = headers_.deadline;
  if (timeout_ms_ == 0) return;
  if (request_->enqueued_at.empty() && record_.timestamp <= 0) {
    request_->timeout_ms = timeout_ms_;
    return;
  }
  const WallMillis start = request_->enqueued_at.empty() ? record_.timestamp : enqueued_;
  // 0 would mean none; a time before 1970 is as expired as 1970.
  const WallMillis deadline = std::max<WallMillis>(start + timeout_ms_, 1);
  if (request_->deadline == 0 || deadline < request_->deadline) request_->deadline = deadline;
}

void ApplyHeaders(const RequestHeaders& headers, InferenceRequest* request) {
  *request = {};
  request->model_id = headers.model_id;
  request->request_id = headers.request_id;
  request->tenant_id = headers.tenant_id.empty() ? headers.key_tenant : headers.tenant_id;
  request->deadline = headers.deadline;
}

std::optional<Failure> CheckSizes(const Record& record, const CodecLimits& limits) {
  if (record.headers.block().size() > static_cast<std::size_t>(limits.max_header_bytes)) {
    return Failure{FailureReason::kTooLarge,
                   fmt::format("headers have {} bytes, at most {} are allowed "
                               "(limits.max_header_bytes)",
                               record.headers.block().size(), limits.max_header_bytes)};
  }
  if (!record.has_value) return Failure{FailureReason::kDecode, "record has no value (null)"};
  if (record.value.empty()) return Failure{FailureReason::kDecode, "value is empty"};
  if (record.value.size() > static_cast<std::size_t>(limits.max_request_bytes)) {
    return Failure{FailureReason::kTooLarge,
                   fmt::format("value has {} bytes, at most {} are allowed "
                               "(limits.max_request_bytes)",
                               record.value.size(), limits.max_request_bytes)};
  }
  return std::nullopt;
}

// Open dimensions that the model calls by one name are one in a row.
std::optional<Failure> CheckTies(const RowLayout& layout, const std::byte* row) {
  for (const RowLayout::Tie& tie : layout.ties) {
    const InputLayout& input = layout.inputs[tie.input];
    const InputLayout& other = layout.inputs[tie.as_input];
    const std::int64_t has = TensorAt(row, input).shape[tie.dim];
    const std::int64_t wants = TensorAt(row, other).shape[tie.as_dim];
    if (has == wants) continue;
    return Failure{FailureReason::kInvalidShape,
                   fmt::format("inputs.{} has {} entries in dimension {}, expected {}: the model "
                               "calls it {}, as it does dimension {} of inputs.{}",
                               input.name, has, tie.dim + 1, wants, Excerpt(tie.name),
                               tie.as_dim + 1, other.name)};
  }
  return std::nullopt;
}

}  // namespace

struct RequestDecoder::Impl {
  DecoderState state;
};

RequestDecoder::RequestDecoder(const CodecLimits& limits) : impl_(std::make_unique<Impl>()) {
  impl_->state.limits = limits;
}

RequestDecoder::~RequestDecoder() = default;

std::optional<Failure> RequestDecoder::Begin(const Record& record, StringScratch& scratch,
                                             InferenceRequest* request) {
  DecoderState& state = impl_->state;
  auto failure = ReadRequestHeaders(record, state.limits, &state.headers);
  ApplyHeaders(state.headers, request);
  if (auto too_large = CheckSizes(record, state.limits)) return too_large;
  if (failure || !request->model_id.empty()) return failure;

  ValueReader reader(state, record, std::nullopt, scratch, request);
  reader.ReadStrictly();
  failure = reader.TakeFailure();
  if (!failure && request->model_id.empty()) {
    failure = Failure{FailureReason::kMissingModelId, "model_id is missing in headers and value"};
  }
  return failure;
}

std::optional<Failure> RequestDecoder::Finish(const Record& record, const RowLayout& layout,
                                              StringScratch& scratch, InferenceRequest* request,
                                              std::byte* row) {
  DecoderState& state = impl_->state;
  const std::string_view model_id = request->model_id;
  MILLRACE_DCHECK(!model_id.empty());
  const TensorReader tensor(state.json, layout, model_id, {scratch, state.elements}, row);
  const auto read = [&](auto how) {
    ApplyHeaders(state.headers, request);
    request->model_id = model_id;
    ValueReader reader(state, record, tensor, scratch, request);
    return (reader.*how)();
  };
  if (!read(&ValueReader::ReadPlain)) read(&ValueReader::ReadStrictly);
  auto failure = state.json.TakeFailure();
  if (!failure && !layout.ties.empty()) failure = CheckTies(layout, row);
  return failure;
}

}  // namespace millrace
