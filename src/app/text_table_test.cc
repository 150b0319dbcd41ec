#include "app/text_table.h"

#include <gtest/gtest.h>

namespace millrace {
namespace {

TEST(TextTable, AlignsCountsCharactersAndDefusesControls) {
  TextTable table(
      {{.name = "id"}, {.name = "rows", .right = true}, {.name = "note", .max_width = 6}});
  table.Add({"größe", "7", "a\x1B[31mb"});
  table.Add({"x", "12345", "a longer one"});
  EXPECT_EQ(table.Take(),
            "id      rows  note\n"
            "größe      7  a?[31…\n"
            "x      12345  a lon…\n");
  table.Add({"later", "1", ""});
  EXPECT_EQ(table.Take(), "later      1  \n");
}

TEST(TextTable, PrintsItsHeaderWithoutRows) {
  EXPECT_EQ(TextTable({{.name = "a"}, {.name = "b"}}).Take(), "a  b\n");
}

TEST(TextTable, GroupsDigits) {
  EXPECT_EQ(Grouped(0), "0");
  EXPECT_EQ(Grouped(999), "999");
  EXPECT_EQ(Grouped(1000), "1,000");
  EXPECT_EQ(Grouped(-1234567), "-1,234,567");
}

}  // namespace
}  // namespace millrace
