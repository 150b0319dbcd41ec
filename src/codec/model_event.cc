#include "codec/model_event.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <optional>

#include "codec/json_writer.h"
#include "codec/text.h"

namespace millrace {
namespace {

// Of one event or status. A model's event is some hundred bytes.
constexpr std::size_t kMaxValueBytes = 64 << 10;
constexpr std::size_t kMaxNameBytes = 128;
constexpr std::size_t kMaxTextBytes = 4096;
constexpr std::size_t kDigestChars = 64;

Status Invalid(std::string what) { return {StatusCode::kInvalidArgument, std::move(what)}; }

// A string member that need not be there.
Status ReadText(const simdjson::dom::object& object, const char* name, std::size_t max,
                std::string* out) {
  simdjson::dom::element element;
  if (object[name].get(element) != simdjson::SUCCESS || element.is_null()) return {};
  std::string_view text;
  if (element.get(text) != simdjson::SUCCESS) return Invalid(fmt::format("{} is no string", name));
  if (text.size() > max) {
    return Invalid(fmt::format("{} has {} bytes, at most {} are allowed", name, text.size(), max));
  }
  const bool one_line = std::all_of(text.begin(), text.end(),
                                    [](char c) { return static_cast<unsigned char>(c) >= 0x20; });
  if (!one_line) return Invalid(fmt::format("{} has control characters", name));
  *out = text;
  return {};
}

Status ReadName(const simdjson::dom::object& object, const char* name, std::string* out) {
  MILLRACE_RETURN_IF_ERROR(ReadText(object, name, kMaxNameBytes, out));
  if (out->empty()) return {};
  if (const auto failure = CheckModelName(name, *out, kMaxNameBytes)) {
    return Invalid(failure->detail);
  }
  return {};
}

Status ReadSpec(const simdjson::dom::object& object, VersionSpec* spec) {
  MILLRACE_RETURN_IF_ERROR(ReadName(object, "version", &spec->version));
  MILLRACE_RETURN_IF_ERROR(ReadText(object, "uri", kMaxTextBytes, &spec->uri));
  MILLRACE_RETURN_IF_ERROR(ReadText(object, "sha256", kDigestChars, &spec->sha256));
  std::transform(spec->sha256.begin(), spec->sha256.end(), spec->sha256.begin(), [](char c) {
    return c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  const bool hex = std::all_of(spec->sha256.begin(), spec->sha256.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
  });
  if (!spec->sha256.empty() && (spec->sha256.size() != kDigestChars || !hex)) {
    return Invalid("sha256 is not 64 hexadecimal digits");
  }
  return {};
}

std::optional<ModelAction> ActionOf(std::string_view name) {
  for (std::size_t i = 0; i < kModelActions; ++i) {
    const auto action = static_cast<ModelAction>(i);
    if (name == ModelActionName(action)) return action;
  }
  return std::nullopt;
}

Status ReadAction(const simdjson::dom::object& object, ModelEvent* event) {
  std::string name;
  MILLRACE_RETURN_IF_ERROR(ReadText(object, "action", kMaxNameBytes, &name));
  const std::optional<ModelAction> action = ActionOf(name);
  if (!action.has_value()) {
    return Invalid(fmt::format("action is {}, expected promote, rollback, retire, shadow or canary",
                               Excerpt(name)));
  }
  event->action = *action;
  if (*action != ModelAction::kRetire && event->version.version.empty()) {
    return Invalid(fmt::format("version is missing, which {} needs", name));
  }
  if (*action != ModelAction::kCanary) return {};
  simdjson::dom::element percent;
  if (object["canary_percent"].get(percent) != simdjson::SUCCESS ||
      percent.get(event->canary_percent) != simdjson::SUCCESS ||
      !(event->canary_percent >= 0 && event->canary_percent <= 100)) {
    return Invalid("canary_percent is missing, or no number from 0 to 100");
  }
  return {};
}

Result<simdjson::dom::object> ParseObject(const Record& record, simdjson::dom::parser& parser) {
  if (record.value.size() > kMaxValueBytes) {
    return Invalid(fmt::format("the value has {} bytes, at most {} are allowed",
                               record.value.size(), kMaxValueBytes));
  }
  simdjson::dom::object object;
  if (parser.parse(record.value.data(), record.value.size()).get(object) != simdjson::SUCCESS) {
    return Invalid("the value is not a JSON object");
  }
  return object;
}

// {"model_path": "..."}: the folder or file that one configured model is to be read from.
Result<ModelEvent> FromModelPath(const simdjson::dom::object& object) {
  ModelEvent event;
  MILLRACE_RETURN_IF_ERROR(ReadText(object, "model_path", kMaxTextBytes, &event.version.uri));
  if (event.version.uri.empty()) return Invalid("neither model_id nor model_path is given");
  return event;
}

void WriteSpec(const VersionSpec& spec, JsonWriter& json) {
  json.Member("version", spec.version).Member("uri", spec.uri).Member("sha256", spec.sha256);
}

}  // namespace

Result<ModelEvent> DecodeModelEvent(const Record& record) {
  if (!record.has_value) {
    if (auto failure = CheckModelName("key", record.key, kMaxNameBytes)) {
      return Invalid(failure->detail);
    }
    ModelEvent event;
    event.model_id = record.key;
    event.action = ModelAction::kRetire;
    return event;
  }
  simdjson::dom::parser parser;
  Result<simdjson::dom::object> object = ParseObject(record, parser);
  if (!object.ok()) return object.status();
  ModelEvent event;
  MILLRACE_RETURN_IF_ERROR(ReadName(*object, "model_id", &event.model_id));
  if (event.model_id.empty()) return FromModelPath(*object);
  // The topic is compacted by key: under another's it would take that one's place.
  if (record.has_key && record.key != event.model_id) {
    return Invalid(fmt::format("the key is {} and model_id {}, expected the same",
                               Excerpt(record.key), Excerpt(event.model_id)));
  }
  MILLRACE_RETURN_IF_ERROR(ReadSpec(*object, &event.version));
  MILLRACE_RETURN_IF_ERROR(ReadAction(*object, &event));
  simdjson::dom::object stable;
  if ((*object)["stable"].get(stable) == simdjson::SUCCESS) {
    event.stable.emplace();
    MILLRACE_RETURN_IF_ERROR(ReadSpec(stable, &*event.stable).WithContext("stable"));
    if (event.stable->version.empty()) event.stable.reset();
  }
  MILLRACE_RETURN_IF_ERROR(ReadText(*object, "issued_at", kMaxNameBytes, &event.issued_at));
  MILLRACE_RETURN_IF_ERROR(ReadText(*object, "issued_by", kMaxTextBytes, &event.issued_by));
  return event;
}

std::string EncodeModelEvent(const ModelEvent& event) {
  std::string out;
  JsonWriter json(out);
  json.BeginObject().Member("model_id", event.model_id);
  WriteSpec(event.version, json);
  json.Member("action", ModelActionName(event.action));
  if (event.action == ModelAction::kCanary) json.Member("canary_percent", event.canary_percent);
  if (event.stable.has_value()) {
    json.Key("stable").BeginObject();
    WriteSpec(*event.stable, json);
    json.EndObject();
  }
  json.Member("issued_at", event.issued_at);
  if (!event.issued_by.empty()) json.Member("issued_by", event.issued_by);
  json.EndObject();
  return out;
}

Result<ModelStatus> DecodeModelStatus(const Record& record) {
  if (!record.has_value) return Invalid("a tombstone has no state");
  simdjson::dom::parser parser;
  Result<simdjson::dom::object> object = ParseObject(record, parser);
  if (!object.ok()) return object.status();
  ModelStatus status;
  MILLRACE_RETURN_IF_ERROR(ReadName(*object, "model_id", &status.model_id));
  MILLRACE_RETURN_IF_ERROR(ReadName(*object, "version", &status.version));
  std::string state;
  MILLRACE_RETURN_IF_ERROR(ReadText(*object, "state", kMaxNameBytes, &state));
  bool known = false;
  for (std::size_t i = 0; i < kModelStates; ++i) {
    if (state != ModelStateName(static_cast<ModelState>(i))) continue;
    status.state = static_cast<ModelState>(i);
    known = true;
  }
  if (!known) return Invalid(fmt::format("state is {}, which is none", Excerpt(state)));
  MILLRACE_RETURN_IF_ERROR(ReadText(*object, "detail", kMaxTextBytes, &status.detail));
  MILLRACE_RETURN_IF_ERROR(ReadText(*object, "serving", kMaxNameBytes, &status.serving));
  MILLRACE_RETURN_IF_ERROR(ReadText(*object, "sha256", kDigestChars, &status.sha256));
  MILLRACE_RETURN_IF_ERROR(ReadText(*object, "worker", kMaxTextBytes, &status.worker));
  MILLRACE_RETURN_IF_ERROR(ReadText(*object, "at", kMaxNameBytes, &status.at));
  return status;
}

std::string EncodeModelStatus(const ModelStatus& status) {
  std::string out;
  JsonWriter json(out);
  json.BeginObject().Member("model_id", status.model_id).Member("version", status.version);
  json.Member("state", ModelStateName(status.state)).Member("detail", status.detail);
  json.Member("serving", status.serving).Member("sha256", status.sha256);
  json.Member("worker", status.worker).Member("at", status.at).EndObject();
  return out;
}

std::string ModelStatusKey(const ModelStatus& status) {
  return status.model_id + "|" + status.worker;
}

}  // namespace millrace
