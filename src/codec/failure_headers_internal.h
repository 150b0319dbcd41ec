// What the writers and readers of dead letters share: the names of the headers that a failure adds,
// and how headers are appended. Internal to codec.
#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <string_view>

#include "types/headers.h"

namespace millrace {

inline constexpr std::string_view kConnectPrefix = "__connect.errors.";

// What an earlier failure said about its record; a later one says it anew. The first of them is the
// first that a dead letter adds: whatever stands before it is the request's own.
inline constexpr std::array<std::string_view, 12> kFailureHeaders = {
    "original_topic",  "original_partition",
    "original_offset", "original_timestamp",
    "original_key",    "reason",
    "detail",          "failed_at",
    "attempts",        "model_version",
    "consumer_group",  "original_value_null",
};
inline constexpr std::string_view kFirstFailureHeader = kFailureHeaders[0];

// Which replay a record comes from; it stays on whatever becomes of the record.
inline constexpr std::string_view kReplayId = "replay_id";
inline constexpr std::string_view kAttempts = "attempts";

inline bool IsFailureHeader(std::string_view name) {
  return name.starts_with(kConnectPrefix) ||
         std::find(kFailureHeaders.begin(), kFailureHeaders.end(), name) != kFailureHeaders.end();
}

class HeaderWriter {
 public:
  explicit HeaderWriter(ByteBuffer& out) : out_(out) {}

  void Text(std::string_view name, std::string_view value) { AppendHeader(name, value, out_); }
  void Known(std::string_view name, std::string_view value) {
    if (!value.empty()) Text(name, value);
  }
  void Integer(std::string_view name, std::int64_t value) {
    std::array<char, 24> text;
    const char* end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
    Text(name, {text.data(), static_cast<std::size_t>(end - text.data())});
  }
  // An entry as it stands in its block: its prefix lies right before its name.
  void Copy(const Header& header) {
    out_.Append({header.name.data() - HeadersView::kPrefixBytes,
                 HeadersView::kPrefixBytes + header.name.size() + header.value.size()});
  }

 private:
  ByteBuffer& out_;
};

}  // namespace millrace
