#include "app/dead_letter.h"

#include <gtest/gtest.h>

namespace millrace {
namespace {

TEST(DeadLetter, SaysWhatItsHeadersSay) {
  ByteBuffer block;
  AppendHeader("reason", "decode", block);
  AppendHeader("original_topic", "in", block);
  AppendHeader("original_partition", "3", block);
  AppendHeader("original_offset", "17", block);
  AppendNullHeader("traceparent", block);
  Record record;
  record.headers = HeadersView(block.view());
  record.value = std::string_view("\xFF{", 2);
  record.has_value = true;
  record.offset = Offset(5);
  const DeadLetter letter = ReadDeadLetter(record);
  EXPECT_EQ(letter.reason, "decode");
  EXPECT_EQ(letter.Original(), "in:3:17");
  std::string out;
  JsonWriter json(out);
  WriteDeadLetter(letter, record, "dlq", 1, json);
  EXPECT_NE(out.find(R"("partition":1,"offset":5)"), std::string::npos) << out;
  EXPECT_NE(out.find(R"("traceparent":null)"), std::string::npos) << out;
  EXPECT_NE(out.find(R"("value_hex":"ff7b")"), std::string::npos) << out;
}

TEST(DeadLetter, IsEmptyForARecordThatIsNone) {
  const DeadLetter letter = ReadDeadLetter(Record{});
  EXPECT_EQ(letter.reason, "");
  EXPECT_EQ(letter.Original(), "");
}

TEST(HexDump, ShowsOffsetsBytesAndText) {
  EXPECT_EQ(HexDump(std::string_view("{\"a\":1}\n\x01 and more", 18)),
            "00000000  7b 22 61 22 3a 31 7d 0a  01 20 61 6e 64 20 6d 6f  |{\"a\":1}.. and mo|\n"
            "00000010  72 65                                             |re|\n");
}

}  // namespace
}  // namespace millrace
