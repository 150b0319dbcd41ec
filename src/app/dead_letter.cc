#include "app/dead_letter.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <vector>

#include "codec/outcome_encoder.h"
#include "codec/text.h"

namespace millrace {
namespace {

std::string Hex(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const char c : bytes) {
    fmt::format_to(std::back_inserter(out), "{:02x}", static_cast<unsigned char>(c));
  }
  return out;
}

void WriteBytes(std::string_view name, std::string_view bytes, JsonWriter& json) {
  if (FindInvalidUtf8(bytes) == std::string_view::npos) {
    json.Member(name, bytes);
  } else {
    json.Member(fmt::format("{}_hex", name), Hex(bytes));
  }
}

}  // namespace

std::string DeadLetter::Original() const {
  if (original_topic.empty()) return {};
  return fmt::format("{}:{}:{}", original_topic, original_partition, original_offset);
}

DeadLetter ReadDeadLetter(const Record& record) {
  const std::array<std::pair<std::string_view, std::string_view DeadLetter::*>, 11> wanted = {{
      {"reason", &DeadLetter::reason},
      {"detail", &DeadLetter::detail},
      {"failed_at", &DeadLetter::failed_at},
      {"attempts", &DeadLetter::attempts},
      {"model_id", &DeadLetter::model_id},
      {"model_version", &DeadLetter::model_version},
      {"tenant_id", &DeadLetter::tenant_id},
      {"request_id", &DeadLetter::request_id},
      {"original_topic", &DeadLetter::original_topic},
      {"original_partition", &DeadLetter::original_partition},
      {"original_offset", &DeadLetter::original_offset},
  }};
  DeadLetter letter;
  for (const Header& header : record.headers) {
    for (const auto& [name, field] : wanted) {
      if (header.name == name) letter.*field = header.value;
    }
  }
  return letter;
}

void WriteDeadLetter(const DeadLetter& letter, const Record& record, std::string_view topic,
                     std::int32_t partition, JsonWriter& json) {
  json.BeginObject().Member("status", "dead_letter").Member("topic", topic);
  json.Member("partition", partition).Member("offset", record.offset.value());
  json.Member("timestamp", TimeText(record.timestamp));
  json.Member("reason", letter.reason).Member("detail", letter.detail);
  json.Member("model_id", letter.model_id).Member("tenant_id", letter.tenant_id);
  json.Member("request_id", letter.request_id).Member("original", letter.Original());
  if (record.has_key) WriteBytes("key", record.key, json);
  json.Key("headers").BeginObject();
  for (const Header& header : record.headers) {
    json.Key(header.name);
    if (header.is_null) {
      json.Null();
    } else {
      json.Value(header.value);
    }
  }
  json.EndObject();
  if (record.has_value) {
    WriteBytes("value", record.value, json);
  } else {
    json.Key("value").Null();
  }
  json.EndObject();
}

std::string TimeText(WallMillis time) {
  std::array<char, kRfc3339MillisBytes> text{};
  FormatRfc3339Millis(time, text.data());
  return {text.data(), text.size()};
}

std::string IndentedJson(std::string_view json) {
  std::string out;
  std::size_t depth = 0;
  // By depth: whether it is an object, whose members have lines of their own.
  std::vector<bool> objects;
  bool quoted = false;
  const auto line = [&] { out.append("\n").append(2 * depth, ' '); };
  for (std::size_t at = 0; at < json.size(); ++at) {
    const char c = json[at];
    if (quoted) {
      out += c;
      if (c == '\\' && at + 1 < json.size()) out += json[++at];
      quoted = c != '"';
      continue;
    }
    const bool in_object = !objects.empty() && objects.back();
    if (c == ' ' || c == '\t' || c == '\n' || c == '\r') continue;
    if (c == '{' || c == '[') {
      out += c;
      objects.push_back(c == '{');
      ++depth;
      const std::size_t next = json.find_first_not_of(" \t\r\n", at + 1);
      if (c == '{' && next != std::string_view::npos && json[next] != '}') line();
    } else if (c == '}' || c == ']') {
      const std::size_t last = out.find_last_not_of(" \n");
      if (depth > 0) --depth;
      if (!objects.empty()) objects.pop_back();
      if (c == '}' && last != std::string::npos && out[last] != '{') line();
      out += c;
    } else if (c == ',') {
      out += c;
      if (in_object) {
        line();
      } else {
        out += ' ';
      }
    } else {
      out += c;
      if (c == ':') out += ' ';
      quoted = c == '"';
    }
  }
  return out;
}

std::string HexDump(std::string_view bytes) {
  constexpr std::size_t kPerLine = 16;
  std::string out;
  auto to = std::back_inserter(out);
  for (std::size_t at = 0; at < bytes.size(); at += kPerLine) {
    const std::string_view line = bytes.substr(at, kPerLine);
    fmt::format_to(to, "{:08x} ", at);
    for (std::size_t i = 0; i < kPerLine; ++i) {
      if (i % 8 == 0) out += ' ';
      if (i < line.size()) {
        fmt::format_to(to, "{:02x} ", static_cast<unsigned char>(line[i]));
      } else {
        out += "   ";
      }
    }
    out += " |";
    for (const char c : line) out += c >= 0x20 && c < 0x7F ? c : '.';
    out += "|\n";
  }
  return out;
}

}  // namespace millrace
