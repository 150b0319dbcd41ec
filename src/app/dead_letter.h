// DeadLetter: what the headers of a dead letter say, for listings.
//
// Views borrow from the record. A record that is no dead letter gives empty fields, never an error.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "codec/json_writer.h"
#include "types/record.h"

namespace millrace {

struct DeadLetter {
  std::string_view reason, detail, failed_at, attempts;
  std::string_view model_id, model_version, tenant_id, request_id;
  std::string_view original_topic, original_partition, original_offset;

  // topic:partition:offset of the request; empty when it is not said.
  std::string Original() const;
};

DeadLetter ReadDeadLetter(const Record& record);

// One JSON object: where it is, what failed, the headers and the value (text, or hex when it is not
// UTF-8).
void WriteDeadLetter(const DeadLetter& letter, const Record& record, std::string_view topic,
                     std::int32_t partition, JsonWriter& json);

// "2026-11-21T07:15:27.123Z".
std::string TimeText(WallMillis time);
// JSON with a line for each member; arrays of plain values on one. Text that is no JSON stays text.
std::string IndentedJson(std::string_view json);
// "00000000  7b 22 ...  |{"...|" lines.
std::string HexDump(std::string_view bytes);

}  // namespace millrace
