#include "pipeline/verify/request_table.h"

#include <gtest/gtest.h>

#include <vector>

namespace millrace {
namespace {

TEST(RequestTable, FindsWhatWasAddedAcrossChunksAndGapsAndNothingElse) {
  RequestTable table;
  std::vector<std::int64_t> added;
  for (std::int64_t offset = 1000; offset < 12'000; ++offset) {
    if (offset % 3000 < 7) continue;
    added.push_back(offset);
    table.Add(Offset(offset),
              {.key = static_cast<std::uint64_t>(offset), .id = 1, .route = 2, .body = 3});
  }
  ASSERT_GT(added.size(), 2 * RequestTable::kChunkRequests);
  std::size_t next = 0;
  for (std::int64_t offset = 0; offset < 13'000; ++offset) {
    const std::size_t index = table.Find(Offset(offset));
    if (next < added.size() && added[next] == offset) {
      ASSERT_EQ(index, next);
      ASSERT_EQ(table.Facts(index).key, static_cast<std::uint64_t>(offset));
      ++next;
    } else {
      ASSERT_EQ(index, RequestTable::kNone) << offset;
    }
  }
  table.Seen(5) = 1;
  std::vector<std::int64_t> visited;
  table.ForEach([&](Offset offset, std::uint8_t seen) {
    EXPECT_EQ(seen, visited.size() == 5 ? 1 : 0);
    visited.push_back(offset.value());
  });
  EXPECT_EQ(visited, added);
}

TEST(RequestTable, FindsNothingWhenEmpty) {
  EXPECT_EQ(RequestTable().Find(Offset(0)), RequestTable::kNone);
}

}  // namespace
}  // namespace millrace
