#include "transport/local/pending_rows.h"

#include <new>

namespace millrace::local {
namespace {

struct Table {
  sqlite3_vtab base;
  const PendingRows* rows;
};

struct Cursor {
  sqlite3_vtab_cursor base;
  const PendingRows* rows;
  std::size_t at;
};

int Connect(sqlite3* db, void* rows, int, const char* const*, sqlite3_vtab** out, char**) {
  const int code = sqlite3_declare_vtab(
      db, "CREATE TABLE x(offset INTEGER, timestamp INTEGER, key BLOB, headers BLOB, value BLOB)");
  if (code != SQLITE_OK) return code;
  auto* table = new (std::nothrow) Table{};
  if (table == nullptr) return SQLITE_NOMEM;
  table->rows = static_cast<const PendingRows*>(rows);
  *out = &table->base;
  return SQLITE_OK;
}

int Disconnect(sqlite3_vtab* table) {
  delete reinterpret_cast<Table*>(table);
  return SQLITE_OK;
}

int BestIndex(sqlite3_vtab*, sqlite3_index_info* info) {
  info->estimatedCost = 1;
  return SQLITE_OK;
}

int Open(sqlite3_vtab* table, sqlite3_vtab_cursor** out) {
  auto* cursor = new (std::nothrow) Cursor{};
  if (cursor == nullptr) return SQLITE_NOMEM;
  cursor->rows = reinterpret_cast<Table*>(table)->rows;
  *out = &cursor->base;
  return SQLITE_OK;
}

int Close(sqlite3_vtab_cursor* cursor) {
  delete reinterpret_cast<Cursor*>(cursor);
  return SQLITE_OK;
}

int Filter(sqlite3_vtab_cursor* cursor, int, const char*, int, sqlite3_value**) {
  reinterpret_cast<Cursor*>(cursor)->at = 0;
  return SQLITE_OK;
}

int Next(sqlite3_vtab_cursor* cursor) {
  ++reinterpret_cast<Cursor*>(cursor)->at;
  return SQLITE_OK;
}

int Eof(sqlite3_vtab_cursor* cursor) {
  const auto* self = reinterpret_cast<Cursor*>(cursor);
  return self->at >= self->rows->order.size() ? 1 : 0;
}

void ReturnBytes(sqlite3_context* context, std::string_view bytes) {
  sqlite3_result_blob64(context, bytes.data() == nullptr ? "" : bytes.data(), bytes.size(),
                        SQLITE_STATIC);
}

int Column(sqlite3_vtab_cursor* cursor, sqlite3_context* context, int column) {
  const auto* self = reinterpret_cast<Cursor*>(cursor);
  const AppendItem& item = self->rows->items[self->rows->order[self->at]];
  switch (column) {
    case 0:
      sqlite3_result_int64(context, self->rows->first_offset + static_cast<std::int64_t>(self->at));
      break;
    case 1:
      sqlite3_result_int64(context, item.timestamp);
      break;
    // A column without a result is NULL.
    case 2:
      if (item.has_key) ReturnBytes(context, item.key);
      break;
    case 3:
      if (!item.headers.empty()) ReturnBytes(context, item.headers);
      break;
    default:
      if (item.has_value) ReturnBytes(context, item.value);
      break;
  }
  return SQLITE_OK;
}

int RowId(sqlite3_vtab_cursor* cursor, sqlite3_int64* out) {
  *out = static_cast<sqlite3_int64>(reinterpret_cast<Cursor*>(cursor)->at);
  return SQLITE_OK;
}

// Without xCreate the table exists in every connection that registers it, under the module's name.
const sqlite3_module kModule = [] {
  sqlite3_module module = {};
  module.xConnect = Connect;
  module.xBestIndex = BestIndex;
  module.xDisconnect = Disconnect;
  module.xOpen = Open;
  module.xClose = Close;
  module.xFilter = Filter;
  module.xNext = Next;
  module.xEof = Eof;
  module.xColumn = Column;
  module.xRowid = RowId;
  return module;
}();

}  // namespace

Status PendingRows::Register(Connection& connection) {
  const int code =
      sqlite3_create_module_v2(connection.handle(), "pending_rows", &kModule, this, nullptr);
  return code == SQLITE_OK ? Status() : connection.Error(code);
}

}  // namespace millrace::local
