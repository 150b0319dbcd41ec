// RequestBuilder: makes request records for publishing from JSON lines and CSV rows.
//
// What a line lacks is filled in (request_id, tenant_id, model_id, enqueued_at, timeout_ms); what
// it has is kept byte by byte, numbers included. A line is checked before it is published: one JSON
// object, ids that may be used, an input. Whether the input fits its model is the worker's concern.
// Key, value and headers are appended to a buffer that the caller owns and clears. One builder per
// thread; it reads no clock.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/byte_buffer.h"
#include "base/clock.h"
#include "codec/options.h"
#include "types/record.h"

namespace millrace {

// Makes ids that sort by time: a prefix and 26 digits and letters (Crockford's base 32) of
// milliseconds, of the process's `salt`, and of a counter.
class RequestIds {
 public:
  RequestIds(std::string prefix, std::uint64_t salt);
  // Valid until the next call.
  std::string_view Next(WallMillis now);

 private:
  const std::size_t prefix_bytes_;
  const std::uint64_t salt_;
  std::uint64_t count_ = 0;
  std::string id_;
};

struct RequestDefaults {
  std::string tenant_id;        // For lines that name none; empty: such a line is refused.
  std::string model_id;         // Likewise.
  std::string id_prefix;        // Of generated request ids.
  std::int64_t timeout_ms = 0;  // For lines without one; 0: none.
};

// Spans of the buffer that the record was appended to.
struct BuiltRequest {
  ByteSpan key;
  ByteSpan value;
  ByteSpan headers;
  bool has_key = true;
};

// What each column of a CSV file is. Columns called request_id, tenant_id, model_id, model_version
// and label are taken as such (label goes to metadata); every other one is an element of `input`.
class CsvColumns {
 public:
  enum class Role : std::uint8_t { kInput, kRequestId, kTenantId, kModelId, kModelVersion, kLabel };

  // From the header row; what is wrong with it goes to `error`.
  static std::optional<CsvColumns> Parse(std::string_view header, std::string* error);

  const std::vector<Role>& roles() const { return roles_; }
  const std::string& name(std::size_t column) const { return names_[column]; }

 private:
  std::vector<Role> roles_;
  std::vector<std::string> names_;
};

// Splits one CSV row (RFC 4180, without line breaks inside quotes). False with `error` when a quote
// is not closed or stands where it may not. Reuses the strings of `fields`.
bool SplitCsvRow(std::string_view row, std::vector<std::string>* fields, std::string* error);

class RequestBuilder {
 public:
  RequestBuilder(const CodecLimits& limits, RequestDefaults defaults, std::uint64_t salt);
  ~RequestBuilder();
  RequestBuilder(const RequestBuilder&) = delete;
  RequestBuilder& operator=(const RequestBuilder&) = delete;

  // Each appends one record to `out` and describes it, or answers why not with `out` as it was.
  // `now` becomes enqueued_at where the line has none. `line` of FromJson and FromRaw must be
  // followed by kReadablePadding readable bytes.
  std::optional<std::string> FromJson(std::string_view line, WallMillis now, ByteBuffer& out,
                                      BuiltRequest* built);
  std::optional<std::string> FromCsv(const CsvColumns& columns, std::string_view row,
                                     WallMillis now, ByteBuffer& out, BuiltRequest* built);
  // The line as it is, keyed when a tenant and a model can be read from it or are defaults.
  void FromRaw(std::string_view line, ByteBuffer& out, BuiltRequest* built);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace millrace
