// TextTable: columns for people, and the other small notations of the commands' output.
//
// Rows may be taken out piece by piece while more come, so that a stream prints as it goes: columns
// then only grow wider. Control characters in a cell are shown as '?', for what is in a log is not
// to be trusted with a terminal.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace millrace {

class TextTable {
 public:
  struct Column {
    std::string name;
    bool right = false;         // Aligned to the right, for numbers.
    std::size_t max_width = 0;  // In characters; longer cells are cut with an ellipsis. 0: any.
  };
  explicit TextTable(std::vector<Column> columns);

  // REQUIRES: as many cells as columns.
  void Add(std::vector<std::string> cells);
  bool empty() const { return rows_.empty(); }
  // The rows added since the last call, below the header row in the first one.
  std::string Take();

 private:
  void AppendRow(const std::vector<std::string>& cells, std::string& out) const;

  std::vector<Column> columns_;
  std::vector<std::size_t> widths_;
  std::vector<std::vector<std::string>> rows_;
  bool has_header_ = false;
};

// Control characters as '?', on one line; but for `kept`.
std::string Printable(std::string_view text, char kept = '\0');
// At most `characters` of `text`, the last an ellipsis when it is cut. Never splits UTF-8.
std::string Shortened(std::string_view text, std::size_t characters);
// 1234567 as "1,234,567".
std::string Grouped(std::int64_t number);

}  // namespace millrace
