// PendingRows: records in memory as a table that SQLite can insert from.
//
// `INSERT INTO records_7 SELECT * FROM pending_rows` appends any number of records with one run of
// one statement: the table's cursor stays at its end between rows, which costs half of a statement
// per record. The rows are borrowed from the caller while the statement runs. One per connection,
// registered before the statements that name it are prepared. Internal to transport/local.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/clock.h"
#include "base/status.h"
#include "transport/local/connection.h"

namespace millrace::local {

struct AppendItem {
  std::string_view key;
  std::string_view value;
  std::string_view headers;
  WallMillis timestamp = 0;
  std::int32_t partition = 0;  // Number of the partition in its topic.
  bool has_key = true;
  bool has_value = true;
};

// What the table holds now: `order[i]` is the index in `items` of row i, whose offset is
// first_offset + i.
struct PendingRows {
  const AppendItem* items = nullptr;
  std::span<const std::uint32_t> order;
  std::int64_t first_offset = 0;

  // Makes the table "pending_rows" of `connection` show this object, which must outlive it.
  Status Register(Connection& connection);
};

}  // namespace millrace::local
