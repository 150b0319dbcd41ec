#include "codec/strict_json_internal.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/byte_buffer.h"
#include "base/check.h"
#include "codec/text.h"

namespace millrace {
namespace {

static_assert(kReadablePadding >= simdjson::SIMDJSON_PADDING);

// The parser's buffers grow by doubling from here, about six bytes for each byte of capacity.
constexpr std::size_t kFirstCapacity = 64 << 10;

}  // namespace

std::string_view TrimRight(std::string_view text) {
  while (!text.empty() && (text.back() == ' ' || text.back() == '\n' || text.back() == '\t' ||
                           text.back() == '\r')) {
    text.remove_suffix(1);
  }
  return text;
}

// The key ends before the colon that its value
// follows, so its end is found without a search.
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

bool StrictJson::Open(std::string_view text, ondemand::object* object) {
  text_ = text;
  opened_ = false;
  failure_.reset();
  keys_.clear();
  if (text.starts_with("\xEF\xBB\xBF")) return MalformedAt("value starts with a byte order mark");
  if (parser_.capacity() < text.size()) {
    const auto error =
        parser_.allocate(std::max({text.size(), 2 * parser_.capacity(), kFirstCapacity}));
    MILLRACE_CHECK(error == simdjson::SUCCESS);
  }
  auto error =
      parser_.iterate(text.data(), text.size(), text.size() + kReadablePadding).get(document_);
  if (error != simdjson::SUCCESS) return Malformed(error);
  opened_ = true;
  error = document_.get_object().get(*object);
  if (error == simdjson::INCORRECT_TYPE) return MalformedAt("value is not a JSON object");
  return error == simdjson::SUCCESS || Malformed(error);
}

bool StrictJson::Close() {
  // Behind the last brace there is no further token exactly when the location has no answer.
  const char* rest = nullptr;
  if (document_.current_location().get(rest) != simdjson::SUCCESS) return true;
  return MalformedAt("something stands behind the JSON object");
}

bool StrictJson::PushKey(ondemand::field& field) {
  std::string_view key = RawKey(field);
  if (key.find('\\') != std::string_view::npos) {
    if (const auto error = field.unescaped_key().get(key)) return Malformed(error);
  }
  keys_.push_back(key);
  return true;
}

bool StrictJson::CheckDuplicates(std::size_t first) {
  std::vector<std::string_view>& keys = keys_;
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

bool StrictJson::Skip(ondemand::value& value, int depth) {
  ondemand::json_type type{};
  if (const auto error = value.type().get(type)) return Malformed(error);
  bool truth = false;
  switch (type) {
    case ondemand::json_type::array:
      return ReadArray(value, depth, [this, depth](ondemand::value& element) {
        return Skip(element, depth + 1);
      });
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

bool StrictJson::ReadString(ondemand::value& value, std::string_view* out) {
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

bool StrictJson::RawTextFrom(const char* begin, std::string_view* out) {
  // The top object is still open, so that a token follows.
  const char* end = nullptr;
  if (const auto error = document_.current_location().get(end)) return Malformed(error);
  *out = TrimRight({begin, static_cast<std::size_t>(end - begin)});
  return true;
}

bool StrictJson::TooDeep() {
  return MalformedAt(fmt::format("value nests deeper than {} levels", kMaxJsonDepth));
}

std::size_t StrictJson::Position() {
  const std::string_view text = text_;
  const char* at = nullptr;
  if (!opened_ || document_.current_location().get(at) != simdjson::SUCCESS || at < text.data() ||
      at > text.data() + text.size()) {
    return text.size();
  }
  return static_cast<std::size_t>(at - text.data());
}

bool StrictJson::MalformedAt(std::string_view what) {
  failure_ = Failure{FailureReason::kDecode, fmt::format("{}, at byte {}", what, Position())};
  return false;
}

bool StrictJson::Malformed(simdjson::error_code error) {
  std::string detail;
  switch (error) {
    case simdjson::UTF8_ERROR:
      detail = fmt::format("value is not UTF-8, at byte {}", FindInvalidUtf8(text_));
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
                           Excerpt(text_.substr(at)));
    }
  }
  failure_ = Failure{FailureReason::kDecode, std::move(detail)};
  return false;
}

}  // namespace millrace
