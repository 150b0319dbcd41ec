// DlqCounts: dead letters counted by reason, model and tenant, as tables with bars or as JSON.
//
// Tenants are many: of each group only the largest are shown in a table, JSON has them all.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "app/dead_letter.h"
#include "codec/json_writer.h"

namespace millrace {

class DlqCounts {
 public:
  void Add(const DeadLetter& letter);
  std::int64_t total() const { return total_; }

  // One table; `group` is "reason", "model" or "tenant".
  std::string Table(std::string_view group, bool bars) const;
  // Three tables, empty lines between them. With `bars`, each row has one that shows its share.
  std::string Tables(bool bars) const;
  // Members "by_reason", "by_model" and "by_tenant", each an object of counts.
  void WriteMembers(JsonWriter& json) const;

 private:
  using Counts = std::map<std::string, std::int64_t, std::less<>>;

  static void AddOne(Counts& counts, std::string_view name);

  Counts by_reason_, by_model_, by_tenant_;
  std::int64_t total_ = 0;
};

// `part` of `whole` as a bar of `width` characters, in eighths of one; never longer.
std::string Bar(std::int64_t part, std::int64_t whole, int width);

}  // namespace millrace
