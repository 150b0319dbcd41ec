#include "app/dead_letter.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>

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
