#include "app/text_table.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace millrace {
namespace {

constexpr std::string_view kGap = "  ";
constexpr std::string_view kEllipsis = "\xE2\x80\xA6";

bool StartsCharacter(char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }

std::size_t Width(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), StartsCharacter));
}

}  // namespace

std::string Printable(std::string_view text, char kept) {
  std::string out(text);
  for (char& c : out) {
    const bool control = static_cast<unsigned char>(c) < 0x20 || c == 0x7F;
    if (control && (c != kept || kept == '\0')) c = '?';
  }
  return out;
}

std::string Shortened(std::string_view text, std::size_t characters) {
  if (characters == 0 || Width(text) <= characters) return std::string(text);
  std::size_t at = 0;
  for (std::size_t seen = 0; at < text.size(); ++at) {
    if (StartsCharacter(text[at]) && seen++ == characters - 1) break;
  }
  return std::string(text.substr(0, at)) + std::string(kEllipsis);
}

std::string Grouped(std::int64_t number) {
  std::string digits = std::to_string(number);
  const std::size_t first = number < 0 ? 1 : 0;
  for (std::size_t at = digits.size(); at > first + 3;) {
    at -= 3;
    digits.insert(at, ",");
  }
  return digits;
}

TextTable::TextTable(std::vector<Column> columns) : columns_(std::move(columns)) {
  for (const Column& column : columns_) widths_.push_back(Width(column.name));
}

void TextTable::Add(std::vector<std::string> cells) {
  MILLRACE_CHECK(cells.size() == columns_.size());
  for (std::size_t i = 0; i < cells.size(); ++i) {
    cells[i] = Shortened(Printable(cells[i]), columns_[i].max_width);
  }
  rows_.push_back(std::move(cells));
}

std::string TextTable::Take() {
  for (const auto& row : rows_) {
    for (std::size_t i = 0; i < row.size(); ++i) widths_[i] = std::max(widths_[i], Width(row[i]));
  }
  std::string out;
  if (!std::exchange(has_header_, true)) {
    std::vector<std::string> names;
    for (const Column& column : columns_) names.push_back(column.name);
    AppendRow(names, out);
  }
  for (const auto& row : rows_) AppendRow(row, out);
  rows_.clear();
  return out;
}

void TextTable::AppendRow(const std::vector<std::string>& cells, std::string& out) const {
  for (std::size_t i = 0; i < cells.size(); ++i) {
    const std::string padding(widths_[i] - Width(cells[i]), ' ');
    if (i > 0) out += kGap;
    if (columns_[i].right) out += padding;
    out += cells[i];
    if (!columns_[i].right && i + 1 < cells.size()) out += padding;
  }
  out += '\n';
}

}  // namespace millrace
