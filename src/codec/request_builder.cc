#include "codec/request_builder.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <array>
#include <charconv>
#include <cmath>
#include <iterator>
#include <utility>

#include "base/check.h"
#include "codec/json_writer.h"
#include "codec/outcome_encoder.h"
#include "codec/record_reader.h"
#include "codec/text.h"

namespace millrace {
namespace {

constexpr char kBase32[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
constexpr int kTimeDigits = 10;  // 50 bits, of which milliseconds use 48.
constexpr int kSaltDigits = 8;
constexpr int kCountDigits = 8;
constexpr std::size_t kIdDigits = kTimeDigits + kSaltDigits + kCountDigits;

void WriteDigits(std::uint64_t value, int digits, char* out) {
  for (int i = digits - 1; i >= 0; --i, value >>= 5) out[i] = kBase32[value & 31];
}

std::string_view Trimmed(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r\n";
  const std::size_t first = text.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

// What the builder looks for among the top-level members.
enum Field : std::uint8_t {
  kRequestId,
  kTenantId,
  kModelId,
  kModelVersion,
  kEnqueuedAt,
  kTimeoutMs,
  kInput,
  kInputs,
  kFields,
};
constexpr std::array<std::string_view, kFields> kFieldNames = {
    "request_id",  "tenant_id",  "model_id", "model_version",
    "enqueued_at", "timeout_ms", "input",    "inputs"};

struct Members {
  std::array<bool, kFields> present{};
  std::array<std::string_view, kFields> text{};  // Of those that must be strings.
};

bool IsTextField(std::size_t field) { return field <= kEnqueuedAt; }

std::optional<std::string> ReadMembers(const simdjson::dom::object& object, Members* members) {
  for (const auto& [key, value] : object) {
    for (std::size_t field = 0; field < kFields; ++field) {
      if (key != kFieldNames[field]) continue;
      if (members->present[field]) return fmt::format("key '{}' occurs twice", key);
      if (value.is_null() && field != kInput && field != kInputs) {
        return fmt::format("{} is null: leave it out or give it a value", key);
      }
      members->present[field] = true;
      if (!IsTextField(field)) break;
      if (value.get(members->text[field])) return fmt::format("{} is not a string", key);
      break;
    }
  }
  return std::nullopt;
}

// Writes a number of a CSV field as JSON has it.
bool AppendNumber(std::string_view text, JsonWriter& json) {
  if (IsJsonNumber(text)) {
    json.Raw(text);
    return true;
  }
  if (text.starts_with('+')) text.remove_prefix(1);
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(number)) {
    return false;
  }
  json.Value(number);
  return true;
}

ByteSpan AppendSpan(std::string_view bytes, ByteBuffer& out) {
  const ByteSpan span = {static_cast<std::uint32_t>(out.size()),
                         static_cast<std::uint32_t>(bytes.size())};
  out.Append(bytes);
  return span;
}

ByteSpan AppendKey(std::string_view tenant, std::string_view model, ByteBuffer& out) {
  const auto at = static_cast<std::uint32_t>(out.size());
  out.Append(tenant);
  out.Append('|');
  out.Append(model);
  return {at, static_cast<std::uint32_t>(out.size()) - at};
}

ByteSpan AppendModelHeader(std::string_view model, ByteBuffer& out) {
  const auto at = static_cast<std::uint32_t>(out.size());
  AppendHeader("model_id", model, out);
  return {at, static_cast<std::uint32_t>(out.size()) - at};
}

}  // namespace

RequestIds::RequestIds(std::string prefix, std::uint64_t salt)
    : prefix_bytes_(prefix.size()), salt_(salt), id_(std::move(prefix)) {
  id_.resize(prefix_bytes_ + kIdDigits);
}

std::string_view RequestIds::Next(WallMillis now) {
  char* digits = id_.data() + prefix_bytes_;
  WriteDigits(static_cast<std::uint64_t>(now), kTimeDigits, digits);
  WriteDigits(salt_, kSaltDigits, digits + kTimeDigits);
  WriteDigits(count_++, kCountDigits, digits + kTimeDigits + kSaltDigits);
  return id_;
}

struct RequestBuilder::Impl {
  Impl(const CodecLimits& l, RequestDefaults d, std::uint64_t salt)
      : limits(l), defaults(std::move(d)), ids(defaults.id_prefix, salt) {
    // One more than the nesting that is allowed: the parser counts the document itself.
    MILLRACE_CHECK(parser.allocate(kInitialCapacity, kMaxJsonDepth + 1) == simdjson::SUCCESS);
  }

  std::optional<std::string> CheckIds(std::string_view request, std::string_view tenant,
                                      std::string_view model) const;
  std::optional<std::string> Check(Members& members) const;
  void BeginObject(const Members& members, WallMillis now);
  std::optional<std::string> WriteCsv(const CsvColumns& columns, Members& members);
  std::optional<std::string> Append(const Members& members, std::string_view rest, ByteBuffer& out,
                                    BuiltRequest* built) const;

  static constexpr std::size_t kInitialCapacity = 16 << 10;

  const CodecLimits limits;
  const RequestDefaults defaults;
  RequestIds ids;
  RecordReader reader;
  simdjson::dom::parser parser;
  std::string text;                 // The part of the value that is written here.
  std::string id;                   // The generated request_id of the line at hand.
  std::vector<std::string> fields;  // Of the CSV row at hand.
};

std::optional<std::string> RequestBuilder::Impl::CheckIds(std::string_view request,
                                                          std::string_view tenant,
                                                          std::string_view model) const {
  if (auto failure = CheckId("request_id", request, limits.max_id_bytes)) return failure->detail;
  if (auto failure = CheckId("tenant_id", tenant, limits.max_id_bytes)) return failure->detail;
  if (auto failure = CheckModelName("model_id", model, limits.max_id_bytes)) {
    return failure->detail;
  }
  return std::nullopt;
}

// Fills what the line lacks, by value only: what is absent stays marked as absent.
std::optional<std::string> RequestBuilder::Impl::Check(Members& members) const {
  if (!members.present[kInput] && !members.present[kInputs]) {
    return "it has neither input nor inputs";
  }
  if (members.present[kInput] && members.present[kInputs]) {
    return "it has both input and inputs: give one";
  }
  if (!members.present[kTenantId]) {
    if (defaults.tenant_id.empty()) return "it has no tenant_id: add one, or name one for all";
    members.text[kTenantId] = defaults.tenant_id;
  }
  if (!members.present[kModelId]) {
    if (defaults.model_id.empty()) return "it has no model_id: add one, or name one for all";
    members.text[kModelId] = defaults.model_id;
  }
  if (!members.present[kRequestId]) members.text[kRequestId] = id;
  return CheckIds(members.text[kRequestId], members.text[kTenantId], members.text[kModelId]);
}

// Starts `text` with "{" and the members that the line lacks, each followed by a comma.
void RequestBuilder::Impl::BeginObject(const Members& members, WallMillis now) {
  text.clear();
  JsonWriter json(text);
  json.BeginObject();
  for (const Field field : {kRequestId, kTenantId, kModelId}) {
    if (!members.present[field]) json.Member(kFieldNames[field], members.text[field]);
  }
  if (!members.present[kEnqueuedAt]) {
    std::array<char, kRfc3339MillisBytes> time{};
    FormatRfc3339Millis(now, time.data());
    json.Member(kFieldNames[kEnqueuedAt], std::string_view(time.data(), time.size()));
  }
  if (!members.present[kTimeoutMs] && defaults.timeout_ms > 0) {
    json.Member(kFieldNames[kTimeoutMs], defaults.timeout_ms);
  }
  if (text.size() > 1) text += ',';
}

std::optional<std::string> RequestBuilder::Impl::Append(const Members& members,
                                                        std::string_view rest, ByteBuffer& out,
                                                        BuiltRequest* built) const {
  const std::size_t bytes = text.size() + rest.size();
  if (bytes > static_cast<std::size_t>(limits.max_request_bytes)) {
    return fmt::format("it has {} bytes, at most {} are allowed (limits.max_request_bytes)", bytes,
                       limits.max_request_bytes);
  }
  built->has_key = true;
  built->key = AppendKey(members.text[kTenantId], members.text[kModelId], out);
  built->value = AppendSpan(text, out);
  out.Append(rest);
  built->value.size = static_cast<std::uint32_t>(bytes);
  built->headers = AppendModelHeader(members.text[kModelId], out);
  return std::nullopt;
}

RequestBuilder::RequestBuilder(const CodecLimits& limits, RequestDefaults defaults,
                               std::uint64_t salt)
    : impl_(std::make_unique<Impl>(limits, std::move(defaults), salt)) {}
RequestBuilder::~RequestBuilder() = default;

std::optional<std::string> RequestBuilder::FromJson(std::string_view line, WallMillis now,
                                                    ByteBuffer& out, BuiltRequest* built) {
  const std::string_view value = Trimmed(line);
  simdjson::dom::object object;
  simdjson::dom::element document;
  const auto error = impl_->parser.parse(value.data(), value.size(), false).get(document);
  if (error == simdjson::DEPTH_ERROR) {
    return fmt::format("it is nested deeper than {}", kMaxJsonDepth);
  }
  if (error != simdjson::SUCCESS) {
    return fmt::format("it is not JSON: {}", simdjson::error_message(error));
  }
  if (document.get(object)) return "it is not a JSON object";
  Members members;
  if (auto why = ReadMembers(object, &members)) return why;
  if (!members.present[kRequestId]) impl_->id = impl_->ids.Next(now);
  if (auto why = impl_->Check(members)) return why;
  impl_->BeginObject(members, now);
  return impl_->Append(members, value.substr(1), out, built);
}

// Goes through the row twice: ids first, for they stand in front of `input` in the value.
std::optional<std::string> RequestBuilder::Impl::WriteCsv(const CsvColumns& columns,
                                                          Members& members) {
  constexpr std::array<std::pair<CsvColumns::Role, Field>, 4> kTexts = {{
      {CsvColumns::Role::kRequestId, kRequestId},
      {CsvColumns::Role::kTenantId, kTenantId},
      {CsvColumns::Role::kModelId, kModelId},
      {CsvColumns::Role::kModelVersion, kModelVersion},
  }};
  JsonWriter json(text);
  std::string_view label;
  for (std::size_t i = 0; i < fields.size(); ++i) {
    for (const auto& [role, field] : kTexts) {
      if (columns.roles()[i] == role && members.present[field]) {
        json.Member(kFieldNames[field], members.text[field]);
      }
    }
    if (columns.roles()[i] == CsvColumns::Role::kLabel) label = Trimmed(fields[i]);
  }
  json.Key("input").BeginArray();
  for (std::size_t i = 0; i < fields.size(); ++i) {
    if (columns.roles()[i] != CsvColumns::Role::kInput) continue;
    const std::string_view number = Trimmed(fields[i]);
    if (!AppendNumber(number, json)) {
      return fmt::format("column {}: {} is not a number", columns.name(i), Excerpt(number));
    }
  }
  json.EndArray();
  if (!label.empty()) json.Key("metadata").BeginObject().Member("label", label).EndObject();
  json.EndObject();
  return std::nullopt;
}

std::optional<std::string> RequestBuilder::FromCsv(const CsvColumns& columns, std::string_view row,
                                                   WallMillis now, ByteBuffer& out,
                                                   BuiltRequest* built) {
  std::vector<std::string>& fields = impl_->fields;
  std::string error;
  if (!SplitCsvRow(row, &fields, &error)) return error;
  if (fields.size() != columns.roles().size()) {
    return fmt::format("it has {} fields, the header row has {}", fields.size(),
                       columns.roles().size());
  }
  Members members;
  members.present[kInput] = true;
  for (std::size_t i = 0; i < fields.size(); ++i) {
    Field field = kFields;
    switch (columns.roles()[i]) {
      case CsvColumns::Role::kRequestId:
        field = kRequestId;
        break;
      case CsvColumns::Role::kTenantId:
        field = kTenantId;
        break;
      case CsvColumns::Role::kModelId:
        field = kModelId;
        break;
      case CsvColumns::Role::kModelVersion:
        field = kModelVersion;
        break;
      case CsvColumns::Role::kInput:
      case CsvColumns::Role::kLabel:
        continue;
    }
    members.text[field] = Trimmed(fields[i]);
    members.present[field] = !members.text[field].empty();
  }
  for (const std::string& field : fields) {
    if (FindInvalidUtf8(field) != std::string_view::npos) return "it is not UTF-8";
  }
  if (!members.present[kRequestId]) impl_->id = impl_->ids.Next(now);
  if (auto why = impl_->Check(members)) return why;
  impl_->BeginObject(members, now);
  if (auto why = impl_->WriteCsv(columns, members)) return why;
  return impl_->Append(members, {}, out, built);
}

void RequestBuilder::FromRaw(std::string_view line, ByteBuffer& out, BuiltRequest* built) {
  RequestFields fields;
  impl_->reader.ReadRequest(line, &fields);
  if (fields.tenant_id.empty()) fields.tenant_id = impl_->defaults.tenant_id;
  if (fields.model_id.empty()) fields.model_id = impl_->defaults.model_id;
  *built = {};
  built->has_key = !fields.tenant_id.empty() && !fields.model_id.empty();
  if (built->has_key) built->key = AppendKey(fields.tenant_id, fields.model_id, out);
  built->value = AppendSpan(line, out);
  if (!fields.model_id.empty()) built->headers = AppendModelHeader(fields.model_id, out);
}

}  // namespace millrace
