#include "codec/request_decoder.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "base/byte_buffer.h"
#include "base/check.h"
#include "codec/element_type.h"
#include "codec/outcome_encoder.h"
#include "codec/request_headers.h"
#include "codec/string_scratch.h"
#include "codec/text.h"

namespace millrace {
namespace {

namespace ondemand = simdjson::ondemand;

static_assert(kReadablePadding >= simdjson::SIMDJSON_PADDING);

constexpr std::int64_t kMaxTimeoutMs = 86'400'000;
constexpr std::int64_t kMaxPriority = 1000;
// The parser's buffers grow by doubling from here, about six bytes for each byte of capacity.
constexpr std::size_t kFirstCapacity = 64 << 10;

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

std::string_view TrimRight(std::string_view text) {
  while (!text.empty() && (text.back() == ' ' || text.back() == '\n' || text.back() == '\t' ||
                           text.back() == '\r')) {
    text.remove_suffix(1);
  }
  return text;
}

// The key as it stands in the record, escapes and all: it ends before the colon that its value
// follows, so its end is found without looking at it.
std::string_view RawKey(ondemand::field& field) {
  const char* begin = field.key().raw();
  const char* value = field.value().raw_json_token().data();
  std::string_view text = TrimRight({begin, static_cast<std::size_t>(value - begin)});
  text.remove_suffix(1);  // The colon.
  text = TrimRight(text);
  text.remove_suffix(1);  // The closing quote.
  return text;
}

std::string_view TypeName(ondemand::value& value) {
  ondemand::json_type type{};
  if (value.type().get(type) != simdjson::SUCCESS) return "not JSON";
  switch (type) {
    case ondemand::json_type::array:
      return "an array";
    case ondemand::json_type::object:
      return "an object";
    case ondemand::json_type::number:
      return "a number";
    case ondemand::json_type::string:
      return "a string";
    case ondemand::json_type::boolean:
      return "a boolean";
    case ondemand::json_type::null:
      return "null";
  }
  return "not JSON";
}

std::string ExpectedShape(const RowLayout& layout) {
  std::vector<std::int64_t> shape = {kDynamicDim};
  shape.insert(shape.end(), layout.row_shape.begin(), layout.row_shape.end());
  return ShapeText(shape);
}

// A double to the integer it stands for exactly, as in 3.0 or 1e3.
template <class T>
bool IntegralFromDouble(double number, T* out) {
  // Both bounds are powers of two, hence exact; the upper one is the first value out of range.
  constexpr double kFirst = static_cast<double>(std::numeric_limits<T>::min());
  const double end = std::ldexp(1.0, std::numeric_limits<T>::digits);
  if (!(number >= kFirst && number < end) || number != std::trunc(number)) return false;
  *out = static_cast<T>(number);
  return true;
}

// False leaves `value` unconsumed; why it is no T is found out by the caller.
template <class T>
bool ReadNumber(ondemand::value& value, T* out) {
  double number = 0;
  if constexpr (std::is_same_v<T, bool>) {
    if (value.get_bool().get(*out) == simdjson::SUCCESS) return true;
    if (value.get_double().get(number) != simdjson::SUCCESS || (number != 0 && number != 1)) {
      return false;
    }
    *out = number == 1;
    return true;
  } else if constexpr (std::is_floating_point_v<T>) {
    if (value.get_double().get(number) != simdjson::SUCCESS) return false;
    *out = static_cast<T>(number);
    // JSON has no infinity, so that one here is a number too large for T.
    return std::abs(*out) <= std::numeric_limits<T>::max();
  } else {
    if constexpr (std::is_unsigned_v<T>) {
      std::uint64_t integer = 0;
      if (value.get_uint64().get(integer) == simdjson::SUCCESS) {
        *out = static_cast<T>(integer);
        return integer <= std::numeric_limits<T>::max();
      }
    } else {
      std::int64_t integer = 0;
      if (value.get_int64().get(integer) == simdjson::SUCCESS) {
        *out = static_cast<T>(integer);
        return integer >= std::numeric_limits<T>::min() && integer <= std::numeric_limits<T>::max();
      }
    }
    return value.get_double().get(number) == simdjson::SUCCESS && IntegralFromDouble(number, out);
  }
}

// What Begin leaves for Finish, and what is reused from record to record.
struct DecoderState {
  CodecLimits limits;
  ondemand::parser parser;
  RequestHeaders headers;
  // Keys of the objects that are open, to find duplicates; each object owns the tail it pushed.
  std::vector<std::string_view> keys;
};

// One pass over one value. Functions that answer bool say whether the value is well-formed so far;
// what is merely not acceptable is kept by Reject, first one wins, and reading goes on, so that a
// dead letter knows the ids that come later.
class ValueReader {
 public:
  // Without `layout` the input is only checked for being JSON.
  ValueReader(DecoderState& state, const Record& record, const RowLayout* layout,
              StringScratch& scratch, InferenceRequest* request, std::byte* row)
      : state_(state),
        record_(record),
        layout_(layout),
        scratch_(scratch),
        request_(request),
        row_(row) {}

  std::optional<Failure> Read();

 private:
  bool ReadTop(ondemand::document& document);
  bool OnTopField(ondemand::field& field);
  bool ReadField(Field field, ondemand::value& value);
  template <class OnField>
  bool ReadObject(ondemand::value& value, int depth, OnField on_field);
  template <class OnField>
  bool ReadFields(ondemand::object& object, OnField on_field);
  bool PushKey(ondemand::field& field);
  bool CheckDuplicates(std::size_t first);
  bool Skip(ondemand::value& value, int depth);
  bool ReadString(ondemand::value& value, std::string_view* out);
  bool ReadText(std::string_view name, ondemand::value& value, std::string_view* out);
  bool ReadId(std::string_view name, ondemand::value& value, std::string_view from_header,
              std::string_view* out);
  bool ReadModelName(std::string_view name, ondemand::value& value, std::string_view from_header,
                     std::string_view* out);
  void Merge(std::string_view name, std::string_view from_value, std::string_view from_header,
             std::string_view* out);
  bool ReadInteger(std::string_view name, ondemand::value& value, std::int64_t min,
                   std::int64_t max, std::int64_t* out);
  bool ReadEnqueuedAt(ondemand::value& value);
  bool ReadMetadata(ondemand::value& value);
  bool ReadNamedInputs(ondemand::value& value);
  bool ReadTensor(ondemand::value& value, int depth, bool named);
  template <class T>
  bool ReadNumbers(ondemand::value& value, int depth, bool named, std::size_t first,
                   std::size_t wanted, std::size_t* count);
  template <class T>
  bool ReadNested(ondemand::value& value, int depth, std::size_t dim, std::size_t first);
  bool ExplainElement(ondemand::value& value, int depth, bool named, std::size_t index);
  std::string InputLabel(bool named) const {
    return named ? "inputs." + layout_->name : std::string("input");
  }
  void CheckComplete();
  void SetDeadline();

  bool Malformed(simdjson::error_code error);
  bool MalformedAt(std::string_view what);
  std::size_t Position();
  bool TooDeep() {
    return MalformedAt(fmt::format("value nests deeper than {} levels", kMaxJsonDepth));
  }
  void Reject(FailureReason reason, std::string detail) {
    if (!failure_) failure_ = Failure{reason, std::move(detail)};
  }
  bool Seen(Field field) const { return (seen_ & (1U << field)) != 0; }

  DecoderState& state_;
  const Record& record_;
  const RowLayout* layout_;
  StringScratch& scratch_;
  InferenceRequest* request_;
  std::byte* row_;
  ondemand::document* document_ = nullptr;
  std::optional<Failure> failure_;
  unsigned seen_ = 0;
  std::int64_t timeout_ms_ = 0;
  WallMillis enqueued_ = 0;
};

std::optional<Failure> ValueReader::Read() {
  const std::string_view text = record_.value;
  if (text.starts_with("\xEF\xBB\xBF")) {
    return Failure{FailureReason::kDecode, "value starts with a byte order mark"};
  }
  ondemand::parser& parser = state_.parser;
  if (parser.capacity() < text.size()) {
    const auto error =
        parser.allocate(std::max({text.size(), 2 * parser.capacity(), kFirstCapacity}));
    MILLRACE_CHECK(error == simdjson::SUCCESS);
  }
  state_.keys.clear();
  ondemand::document document;
  const auto error =
      parser.iterate(text.data(), text.size(), text.size() + kReadablePadding).get(document);
  if (error != simdjson::SUCCESS) {
    Malformed(error);
    return failure_;
  }
  document_ = &document;
  if (ReadTop(document)) {
    if (layout_ != nullptr) CheckComplete();
    SetDeadline();
  }
  return failure_;
}

bool ValueReader::ReadTop(ondemand::document& document) {
  ondemand::object object;
  if (const auto error = document.get_object().get(object)) {
    if (error == simdjson::INCORRECT_TYPE) return MalformedAt("value is not a JSON object");
    return Malformed(error);
  }
  if (!ReadFields(object, [this](ondemand::field& field) { return OnTopField(field); })) {
    return false;
  }
  // Behind the last brace there is no further token exactly when the location has no answer.
  const char* rest = nullptr;
  if (document.current_location().get(rest) == simdjson::SUCCESS) {
    return MalformedAt("something stands behind the JSON object");
  }
  return true;
}

template <class OnField>
bool ValueReader::ReadFields(ondemand::object& object, OnField on_field) {
  const std::size_t first = state_.keys.size();
  for (auto result : object) {
    ondemand::field field;
    if (const auto error = std::move(result).get(field)) return Malformed(error);
    if (!on_field(field)) return false;
  }
  return CheckDuplicates(first);
}

// `depth` is that of what contains `value`, here and below; the top object's content has depth 1.
template <class OnField>
bool ValueReader::ReadObject(ondemand::value& value, int depth, OnField on_field) {
  if (depth >= kMaxJsonDepth) return TooDeep();
  ondemand::object object;
  if (const auto error = value.get_object().get(object)) return Malformed(error);
  return ReadFields(object, on_field);
}

bool ValueReader::PushKey(ondemand::field& field) {
  std::string_view key = RawKey(field);
  if (key.find('\\') != std::string_view::npos) {
    if (const auto error = field.unescaped_key().get(key)) return Malformed(error);
  }
  state_.keys.push_back(key);
  return true;
}

bool ValueReader::CheckDuplicates(std::size_t first) {
  std::vector<std::string_view>& keys = state_.keys;
  if (keys.size() - first > 1) {
    const auto begin = keys.begin() + static_cast<std::ptrdiff_t>(first);
    std::sort(begin, keys.end());
    const auto twin = std::adjacent_find(begin, keys.end());
    if (twin != keys.end()) {
      return MalformedAt(
          fmt::format("key {} occurs twice in the object that ends", Excerpt(*twin)));
    }
  }
  keys.resize(first);
  return true;
}

bool ValueReader::OnTopField(ondemand::field& field) {
  Field id = FieldOf(RawKey(field));
  if (id == kUnknown) {
    if (!PushKey(field)) return false;
    id = FieldOf(state_.keys.back());
    if (id == kUnknown) return Skip(field.value(), 1);
    state_.keys.pop_back();  // A known key that was written with escapes.
  }
  if (Seen(id)) {
    return MalformedAt(fmt::format("key {} occurs twice", Excerpt(RawKey(field))));
  }
  seen_ |= 1U << id;
  return ReadField(id, field.value());
}

bool ValueReader::ReadField(Field field, ondemand::value& value) {
  const RequestHeaders& headers = state_.headers;
  ondemand::json_type type{};
  if (const auto error = value.type().get(type)) return Malformed(error);
  const bool absent = type == ondemand::json_type::null;
  std::int64_t priority = 0;
  switch (field) {
    case kRequestId:
      return ReadId("request_id", value, headers.request_id, &request_->request_id);
    case kTenantId:
      return ReadId("tenant_id", value, headers.tenant_id, &request_->tenant_id);
    case kModelId:
      return ReadModelName("model_id", value, headers.model_id, &request_->model_id);
    case kInput:
      return layout_ == nullptr ? Skip(value, 1) : ReadTensor(value, 1, false);
    case kInputs:
      return layout_ == nullptr ? Skip(value, 1) : ReadNamedInputs(value);
    case kModelVersion:
      if (absent) return Skip(value, 1);
      return ReadModelName("model_version", value, {}, &request_->model_version);
    case kMetadata:
      return absent ? Skip(value, 1) : ReadMetadata(value);
    case kEnqueuedAt:
      return absent ? Skip(value, 1) : ReadEnqueuedAt(value);
    case kTimeoutMs:
      if (absent) return Skip(value, 1);
      return ReadInteger("timeout_ms", value, 1, kMaxTimeoutMs, &timeout_ms_);
    case kPriority:
      if (absent) return Skip(value, 1);
      if (!ReadInteger("priority", value, -kMaxPriority, kMaxPriority, &priority)) return false;
      request_->priority = static_cast<std::int32_t>(priority);
      return true;
    case kUnknown:
      break;
  }
  return Skip(value, 1);
}

// Consumes and validates a value that nobody asked for.
bool ValueReader::Skip(ondemand::value& value, int depth) {
  ondemand::json_type type{};
  if (const auto error = value.type().get(type)) return Malformed(error);
  bool truth = false;
  switch (type) {
    case ondemand::json_type::array: {
      if (depth >= kMaxJsonDepth) return TooDeep();
      ondemand::array array;
      if (const auto error = value.get_array().get(array)) return Malformed(error);
      for (auto result : array) {
        ondemand::value element;
        if (const auto error = std::move(result).get(element)) return Malformed(error);
        if (!Skip(element, depth + 1)) return false;
      }
      return true;
    }
    case ondemand::json_type::object:
      return ReadObject(value, depth, [this, depth](ondemand::field& field) {
        return PushKey(field) && Skip(field.value(), depth + 1);
      });
    case ondemand::json_type::number:
      // Left to the iterator, which steps over a scalar by itself.
      if (IsJsonNumber(TrimRight(value.raw_json_token()))) return true;
      return Malformed(simdjson::NUMBER_ERROR);
    case ondemand::json_type::string: {
      std::string_view text;
      return ReadString(value, &text);
    }
    case ondemand::json_type::boolean:
      if (const auto error = value.get_bool().get(truth)) return Malformed(error);
      return true;
    case ondemand::json_type::null:
      if (const auto error = value.is_null().get(truth)) return Malformed(error);
      return truth || Malformed(simdjson::N_ATOM_ERROR);
  }
  return Malformed(simdjson::TAPE_ERROR);
}

// The string's text: in the record when it has no escapes, else in the parser until the next value.
bool ValueReader::ReadString(ondemand::value& value, std::string_view* out) {
  const std::string_view token = TrimRight(value.raw_json_token());
  if (token.find('\\') != std::string_view::npos) {
    if (const auto error = value.get_string().get(*out)) return Malformed(error);
    return true;
  }
  ondemand::raw_json_string raw;
  if (const auto error = value.get_raw_json_string().get(raw)) return Malformed(error);
  if (token.size() < 2 || token.back() != '"') return Malformed(simdjson::STRING_ERROR);
  *out = token.substr(1, token.size() - 2);
  return true;
}

// The same with a stable address; `out` stays null when the value is no string.
bool ValueReader::ReadText(std::string_view name, ondemand::value& value, std::string_view* out) {
  if (value.raw_json_token().front() != '"') {
    Reject(FailureReason::kInvalidValue,
           fmt::format("{} is {}, expected a string", name, TypeName(value)));
    return Skip(value, 1);
  }
  if (!ReadString(value, out)) return false;
  const bool in_record = out->data() >= record_.value.data() &&
                         out->data() < record_.value.data() + record_.value.size();
  if (!in_record && !out->empty()) *out = scratch_.Copy(*out);
  return true;
}

bool ValueReader::ReadId(std::string_view name, ondemand::value& value,
                         std::string_view from_header, std::string_view* out) {
  std::string_view id;
  if (!ReadText(name, value, &id)) return false;
  if (id.data() == nullptr) return true;
  if (auto failure = CheckId(name, id, state_.limits.max_id_bytes)) {
    Reject(failure->reason, std::move(failure->detail));
  } else {
    Merge(name, id, from_header, out);
  }
  return true;
}

bool ValueReader::ReadModelName(std::string_view name, ondemand::value& value,
                                std::string_view from_header, std::string_view* out) {
  std::string_view id;
  if (!ReadText(name, value, &id)) return false;
  if (id.data() == nullptr) return true;
  if (auto failure = CheckModelName(name, id, state_.limits.max_id_bytes)) {
    Reject(failure->reason, std::move(failure->detail));
  } else {
    Merge(name, id, from_header, out);
  }
  return true;
}

void ValueReader::Merge(std::string_view name, std::string_view from_value,
                        std::string_view from_header, std::string_view* out) {
  if (!from_header.empty() && from_header != from_value) {
    Reject(FailureReason::kInvalidValue,
           fmt::format("{} contradicts itself: the header says {}, the value says {}", name,
                       Excerpt(from_header), Excerpt(from_value)));
    return;
  }
  *out = from_value;
}

bool ValueReader::ReadInteger(std::string_view name, ondemand::value& value, std::int64_t min,
                              std::int64_t max, std::int64_t* out) {
  std::int64_t number = 0;
  if (ReadNumber(value, &number) && number >= min && number <= max) {
    *out = number;
    return true;
  }
  const std::string_view token = TrimRight(value.raw_json_token());
  if (!Skip(value, 1)) return false;
  Reject(FailureReason::kInvalidValue, fmt::format("{} is {}, expected an integer from {} to {}",
                                                   name, Excerpt(token), min, max));
  return true;
}

bool ValueReader::ReadEnqueuedAt(ondemand::value& value) {
  std::string_view text;
  if (!ReadText("enqueued_at", value, &text)) return false;
  if (text.data() == nullptr) return true;
  if (const auto time = ParseRfc3339(text)) {
    enqueued_ = *time;
    request_->enqueued_at = text;
  } else {
    Reject(FailureReason::kInvalidValue,
           fmt::format("enqueued_at is {}, expected an RFC 3339 time such as "
                       "2026-11-21T07:15:27.123Z",
                       Excerpt(text)));
  }
  return true;
}

bool ValueReader::ReadMetadata(ondemand::value& value) {
  const char* begin = value.raw_json_token().data();
  if (*begin != '{') {
    Reject(FailureReason::kInvalidValue,
           fmt::format("metadata is {}, expected an object of strings", TypeName(value)));
    return Skip(value, 1);
  }
  const bool well_formed = ReadObject(value, 1, [this](ondemand::field& field) {
    if (!PushKey(field)) return false;
    ondemand::value& entry = field.value();
    if (entry.raw_json_token().front() != '"') {
      Reject(FailureReason::kInvalidValue,
             fmt::format("metadata.{} is {}, expected a string", Excerpt(state_.keys.back()),
                         TypeName(entry)));
    }
    return Skip(entry, 2);
  });
  const char* end = nullptr;
  // The top object is still open, so that a token follows.
  if (!well_formed) return false;
  if (const auto error = document_->current_location().get(end)) return Malformed(error);
  const std::string_view text = TrimRight({begin, static_cast<std::size_t>(end - begin)});
  if (text.size() > static_cast<std::size_t>(state_.limits.max_metadata_bytes)) {
    Reject(FailureReason::kTooLarge,
           fmt::format("metadata has {} bytes, at most {} are allowed (limits.max_metadata_bytes)",
                       text.size(), state_.limits.max_metadata_bytes));
    return true;
  }
  request_->metadata = text;
  return true;
}

bool ValueReader::ReadNamedInputs(ondemand::value& value) {
  if (value.raw_json_token().front() != '{') {
    Reject(FailureReason::kInvalidShape, fmt::format("inputs is {}, expected an object with {}",
                                                     TypeName(value), Excerpt(layout_->name)));
    return Skip(value, 1);
  }
  bool found = false;
  const bool well_formed = ReadObject(value, 1, [this, &found](ondemand::field& field) {
    if (!PushKey(field)) return false;
    const std::string_view name = state_.keys.back();
    if (name == layout_->name) {
      found = true;
      return ReadTensor(field.value(), 2, true);
    }
    Reject(FailureReason::kInvalidShape,
           fmt::format("inputs has {}, model {} expects exactly {}", Excerpt(name),
                       Excerpt(request_->model_id), Excerpt(layout_->name)));
    return Skip(field.value(), 2);
  });
  if (well_formed && !found) {
    Reject(FailureReason::kInvalidShape,
           fmt::format("inputs lacks {}, which model {} expects (shape {})", Excerpt(layout_->name),
                       Excerpt(request_->model_id), ExpectedShape(*layout_)));
  }
  return well_formed;
}

bool ValueReader::ReadTensor(ondemand::value& value, int depth, bool named) {
  const RowLayout& layout = *layout_;
  const std::string_view token = value.raw_json_token();
  if (token.front() != '[') {
    if (named && layout.row_shape.empty()) {
      return DispatchElement(layout.type, [&]<class T>(std::type_identity<T>) {
        return ReadNumber(value, reinterpret_cast<T*>(row_)) ||
               ExplainElement(value, depth, named, 0);
      });
    }
    Reject(FailureReason::kInvalidShape,
           fmt::format("{} is {}, expected an array of {} numbers (shape {})", InputLabel(named),
                       TypeName(value), layout.elements, ExpectedShape(layout)));
    return Skip(value, depth);
  }
  // The opening bracket's token ends where the first element starts.
  const bool nested = named && layout.row_shape.size() > 1 && *(token.data() + token.size()) == '[';
  return DispatchElement(layout.type, [&]<class T>(std::type_identity<T>) {
    if (nested) return ReadNested<T>(value, depth, 0, 0);
    std::size_t count = 0;
    if (!ReadNumbers<T>(value, depth, named, 0, layout_->elements, &count)) return false;
    if (count != layout_->elements) {
      Reject(
          FailureReason::kInvalidShape,
          fmt::format("{} has {} numbers, model {} expects {} (shape {})", InputLabel(named), count,
                      Excerpt(request_->model_id), layout_->elements, ExpectedShape(*layout_)));
    }
    return true;
  });
}

// Numbers of one array to row elements [first, first + wanted); counts all that the array has.
template <class T>
bool ValueReader::ReadNumbers(ondemand::value& value, int depth, bool named, std::size_t first,
                              std::size_t wanted, std::size_t* count) {
  if (depth >= kMaxJsonDepth) return TooDeep();
  ondemand::array array;
  if (const auto error = value.get_array().get(array)) return Malformed(error);
  T* out = reinterpret_cast<T*>(row_) + first;
  std::size_t n = 0;
  for (auto result : array) {
    ondemand::value element;
    if (const auto error = std::move(result).get(element)) return Malformed(error);
    if (n >= wanted) [[unlikely]] {
      if (!Skip(element, depth + 1)) return false;
    } else if (!ReadNumber(element, out + n)) [[unlikely]] {
      if (!ExplainElement(element, depth + 1, named, first + n)) return false;
    }
    ++n;
  }
  *count = n;
  return true;
}

template <class T>
bool ValueReader::ReadNested(ondemand::value& value, int depth, std::size_t dim,
                             std::size_t first) {
  const std::vector<std::int64_t>& shape = layout_->row_shape;
  const auto wanted = static_cast<std::size_t>(shape[dim]);
  if (value.raw_json_token().front() != '[') {
    Reject(FailureReason::kInvalidShape,
           fmt::format("{} has {} in dimension {}, expected an array (shape {})", InputLabel(true),
                       TypeName(value), dim + 1, ExpectedShape(*layout_)));
    return Skip(value, depth);
  }
  std::size_t count = 0;
  if (dim + 1 == shape.size()) {
    if (!ReadNumbers<T>(value, depth, true, first, wanted, &count)) return false;
  } else {
    if (depth >= kMaxJsonDepth) return TooDeep();
    std::size_t stride = 1;
    for (std::size_t d = dim + 1; d < shape.size(); ++d) {
      stride *= static_cast<std::size_t>(shape[d]);
    }
    ondemand::array array;
    if (const auto error = value.get_array().get(array)) return Malformed(error);
    for (auto result : array) {
      ondemand::value part;
      if (const auto error = std::move(result).get(part)) return Malformed(error);
      const bool well_formed = count < wanted
                                   ? ReadNested<T>(part, depth + 1, dim + 1, first + count * stride)
                                   : Skip(part, depth + 1);
      if (!well_formed) return false;
      ++count;
    }
  }
  if (count != wanted) {
    Reject(FailureReason::kInvalidShape,
           fmt::format("{} has {} entries in dimension {} at element {}, expected {} (shape {})",
                       InputLabel(true), count, dim + 1, first, wanted, ExpectedShape(*layout_)));
  }
  return true;
}

bool ValueReader::ExplainElement(ondemand::value& value, int depth, bool named, std::size_t index) {
  const std::string_view token = TrimRight(value.raw_json_token());
  const std::string_view type = TypeName(value);
  const bool is_number = type == "a number";
  if (!Skip(value, depth)) return false;
  Reject(FailureReason::kInvalidValue,
         is_number
             ? fmt::format("{}[{}] is {}, which is no {}", InputLabel(named), index, Excerpt(token),
                           ElementTypeName(layout_->type))
             : fmt::format("{}[{}] is {}, expected a number", InputLabel(named), index, type));
  return true;
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
  if (!Seen(kInput) && !Seen(kInputs)) {
    Reject(FailureReason::kInvalidShape,
           fmt::format("input is missing, model {} expects {} numbers (shape {})",
                       Excerpt(request_->model_id), layout_->elements, ExpectedShape(*layout_)));
  }
}

void ValueReader::SetDeadline() {
  request_->deadline = state_.headers.deadline;
  if (timeout_ms_ == 0) return;
  const WallMillis start = request_->enqueued_at.empty() ? record_.timestamp : enqueued_;
  // 0 would mean none; a time before 1970 is as expired as 1970.
  const WallMillis deadline = std::max<WallMillis>(start + timeout_ms_, 1);
  if (request_->deadline == 0 || deadline < request_->deadline) request_->deadline = deadline;
}

std::size_t ValueReader::Position() {
  const std::string_view text = record_.value;
  const char* at = nullptr;
  if (document_ == nullptr || document_->current_location().get(at) != simdjson::SUCCESS ||
      at < text.data() || at > text.data() + text.size()) {
    return text.size();
  }
  return static_cast<std::size_t>(at - text.data());
}

bool ValueReader::MalformedAt(std::string_view what) {
  failure_ = Failure{FailureReason::kDecode, fmt::format("{}, at byte {}", what, Position())};
  return false;
}

bool ValueReader::Malformed(simdjson::error_code error) {
  std::string detail;
  switch (error) {
    case simdjson::UTF8_ERROR:
      detail = fmt::format("value is not UTF-8, at byte {}", FindInvalidUtf8(record_.value));
      break;
    case simdjson::UNCLOSED_STRING:
      detail = "value is cut: a string is not closed";
      break;
    case simdjson::UNESCAPED_CHARS:
      detail = "value is not well-formed JSON: a control character stands in a string";
      break;
    case simdjson::EMPTY:
      detail = "value has nothing but white space";
      break;
    case simdjson::INCOMPLETE_ARRAY_OR_OBJECT:
      detail = "value is not one JSON object: it is cut, or something stands behind it";
      break;
    default: {
      const std::size_t at = Position();
      detail = fmt::format("value is not well-formed JSON, at byte {} near {}", at,
                           Excerpt(record_.value.substr(at)));
    }
  }
  failure_ = Failure{FailureReason::kDecode, std::move(detail)};
  return false;
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

  failure = ValueReader(state, record, nullptr, scratch, request, nullptr).Read();
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
  ApplyHeaders(state.headers, request);
  request->model_id = model_id;
  return ValueReader(state, record, &layout, scratch, request, row).Read();
}

}  // namespace millrace
