#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "codec/request_builder.h"
#include "codec/text.h"

namespace millrace {
namespace {

constexpr std::array<std::pair<std::string_view, CsvColumns::Role>, 5> kNamedColumns = {{
    {"request_id", CsvColumns::Role::kRequestId},
    {"tenant_id", CsvColumns::Role::kTenantId},
    {"model_id", CsvColumns::Role::kModelId},
    {"model_version", CsvColumns::Role::kModelVersion},
    {"label", CsvColumns::Role::kLabel},
}};

// Takes a quoted field, whose opening quote stands at `*at`, and moves behind the closing one.
bool TakeQuoted(std::string_view row, std::size_t* at, std::string* field, std::string* error) {
  std::size_t i = *at + 1;
  while (i < row.size()) {
    if (row[i] != '"') {
      field->push_back(row[i++]);
    } else if (i + 1 < row.size() && row[i + 1] == '"') {
      field->push_back('"');
      i += 2;
    } else {
      *at = i + 1;
      return true;
    }
  }
  *error = fmt::format("the quote at byte {} is not closed on its line", *at);
  return false;
}

}  // namespace

bool SplitCsvRow(std::string_view row, std::vector<std::string>* fields, std::string* error) {
  std::size_t count = 0;
  std::size_t at = 0;
  while (true) {
    if (count == fields->size()) fields->emplace_back();
    std::string& field = (*fields)[count++];
    field.clear();
    if (at < row.size() && row[at] == '"') {
      if (!TakeQuoted(row, &at, &field, error)) return false;
      if (at < row.size() && row[at] != ',') {
        *error = fmt::format("a quoted field goes on behind its quote at byte {}", at);
        return false;
      }
    } else {
      const std::size_t end = std::min(row.find(',', at), row.size());
      field.assign(row.substr(at, end - at));
      at = end;
    }
    if (at >= row.size()) break;
    ++at;  // The comma.
  }
  fields->resize(count);
  return true;
}

std::optional<CsvColumns> CsvColumns::Parse(std::string_view header, std::string* error) {
  if (header.starts_with("\xEF\xBB\xBF")) header.remove_prefix(3);
  CsvColumns columns;
  if (!SplitCsvRow(header, &columns.names_, error)) return std::nullopt;
  bool has_input = false;
  for (const std::string& name : columns.names_) {
    const auto* named = std::find_if(kNamedColumns.begin(), kNamedColumns.end(),
                                     [&](const auto& entry) { return entry.first == name; });
    if (named == kNamedColumns.end()) {
      has_input = true;
      columns.roles_.push_back(Role::kInput);
      continue;
    }
    if (std::count(columns.roles_.begin(), columns.roles_.end(), named->second) > 0) {
      *error = fmt::format("column {} occurs twice", name);
      return std::nullopt;
    }
    columns.roles_.push_back(named->second);
  }
  if (!has_input) {
    *error = fmt::format("the header row {} names no input column", Excerpt(header));
    return std::nullopt;
  }
  return columns;
}

}  // namespace millrace
