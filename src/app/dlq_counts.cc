#include "app/dlq_counts.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <utility>
#include <vector>

#include "app/text_table.h"

namespace millrace {
namespace {

constexpr std::size_t kShown = 20;
constexpr std::size_t kNameColumns = 32;
constexpr int kBarColumns = 30;
constexpr std::string_view kNone = "(none)";

}  // namespace

std::string Bar(std::int64_t part, std::int64_t whole, int width) {
  static constexpr std::array<std::string_view, 8> kEighths = {
      "", "\u258F", "\u258E", "\u258D", "\u258C", "\u258B", "\u258A", "\u2589"};
  if (part <= 0 || whole <= 0) return {};
  // What is there at all shows.
  const std::int64_t eighths =
      std::clamp<std::int64_t>(static_cast<std::int64_t>(8.0 * width * static_cast<double>(part) /
                                                         static_cast<double>(whole)),
                               1, std::int64_t{8} * width);
  std::string bar;
  for (std::int64_t i = 0; i < eighths / 8; ++i) bar += "\u2588";
  return bar += kEighths[static_cast<std::size_t>(eighths % 8)];
}

void DlqCounts::AddOne(Counts& counts, std::string_view name) {
  if (name.empty()) name = kNone;
  const auto found = counts.find(name);
  if (found != counts.end()) {
    ++found->second;
  } else {
    counts.emplace(name, 1);
  }
}

void DlqCounts::Add(const DeadLetter& letter) {
  ++total_;
  AddOne(by_reason_, letter.reason);
  AddOne(by_model_, letter.model_id);
  AddOne(by_tenant_, letter.tenant_id);
}

std::string DlqCounts::Table(std::string_view group, bool bars) const {
  const Counts& counts = group == "model" ? by_model_ : group == "tenant" ? by_tenant_ : by_reason_;
  std::string title(group);
  for (char& c : title) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  std::vector<std::pair<std::string, std::int64_t>> rows(counts.begin(), counts.end());
  std::stable_sort(rows.begin(), rows.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  const std::size_t shown = rows.size() > kShown ? kShown - 1 : rows.size();
  if (shown < rows.size()) {
    std::int64_t rest = 0;
    for (std::size_t i = shown; i < rows.size(); ++i) rest += rows[i].second;
    rows[shown] = {fmt::format("({} others)", rows.size() - shown), rest};
    rows.resize(shown + 1);
  }
  std::vector<TextTable::Column> columns = {{.name = std::move(title), .max_width = kNameColumns},
                                            {.name = "COUNT", .right = true}};
  if (bars) columns.push_back({.name = ""});
  TextTable table(std::move(columns));
  for (const auto& [name, count] : rows) {
    std::vector<std::string> cells = {name, Grouped(count)};
    if (bars) cells.push_back(Bar(count, total_, kBarColumns));
    table.Add(std::move(cells));
  }
  return table.Take();
}

std::string DlqCounts::Tables(bool bars) const {
  return Table("reason", bars) + "\n" + Table("model", bars) + "\n" + Table("tenant", bars);
}

void DlqCounts::WriteMembers(JsonWriter& json) const {
  const std::array<std::pair<const char*, const Counts*>, 3> groups = {
      {{"by_reason", &by_reason_}, {"by_model", &by_model_}, {"by_tenant", &by_tenant_}}};
  for (const auto& [name, counts] : groups) {
    json.Key(name).BeginObject();
    for (const auto& [word, count] : *counts) json.Member(word, count);
    json.EndObject();
  }
}

}  // namespace millrace
