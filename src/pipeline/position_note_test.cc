#include "pipeline/position_note.h"

#include <gtest/gtest.h>

#include <random>

namespace millrace {
namespace {

OffsetRange Range(std::int64_t first, std::int64_t end) { return {Offset(first), Offset(end)}; }

TEST(PositionNote, NothingBeyondThePositionIsAnEmptyText) {
  EXPECT_EQ(EncodeNote(Offset(7), {}), "");
  const auto done = DecodeNote(Offset(7), "");
  ASSERT_TRUE(done.ok());
  EXPECT_TRUE(done->empty());
}

// The format is kept in logs: what is written here once must be read for ever.
TEST(PositionNote, Version1ReadsAsItAlwaysDid) {
  const std::vector<OffsetRange> ranges = {Range(1001, 1003), Range(1200, 1201)};
  EXPECT_EQ(EncodeNote(Offset(1000), ranges), "mr1:6AcBAsUBAQ");
  const auto done = DecodeNote(Offset(1000), "mr1:6AcBAsUBAQ");
  ASSERT_TRUE(done.ok());
  EXPECT_EQ(*done, ranges);
}

TEST(PositionNote, Version2HasTheModelEventsAndReadsAsItAlwaysDid) {
  const std::vector<OffsetRange> ranges = {Range(1001, 1003), Range(1200, 1201)};
  EXPECT_EQ(EncodeNote(Offset(1000), ranges, 300), "mr2:rALoBwECxQEB");
  std::int64_t events = -1;
  EXPECT_EQ(DecodeNote(Offset(1000), "mr2:rALoBwECxQEB", &events).value(), ranges);
  EXPECT_EQ(events, 300);
  EXPECT_TRUE(DecodeNote(Offset(7), EncodeNote(Offset(7), {}, 1), &events)->empty());
  EXPECT_EQ(events, 1);
  EXPECT_TRUE(DecodeNote(Offset(8), EncodeNote(Offset(7), {}, 1), &events)->empty());
  EXPECT_EQ(events, 0) << "of another position";
  ASSERT_TRUE(DecodeNote(Offset(1000), "mr1:6AcBAsUBAQ", &events).ok());
  EXPECT_EQ(events, 0);
}

TEST(PositionNote, RandomRangesReadBack) {
  const std::uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  for (int round = 0; round < 5000; ++round) {
    const auto position = static_cast<std::int64_t>(random() >> (1 + random() % 62));
    std::vector<OffsetRange> ranges;
    std::int64_t end = position;
    const auto step = [&] {
      return 1 + static_cast<std::int64_t>(random() >> (40 + random() % 24));
    };
    for (auto left = random() % 50; left > 0; --left) {
      if (end > std::numeric_limits<std::int64_t>::max() / 2) break;
      const bool at_position = ranges.empty() && random() % 4 == 0;
      const std::int64_t first = at_position ? position : end + step();
      end = first + step();
      ranges.push_back(Range(first, end));
    }
    const std::int64_t events =
        random() % 2 == 0 ? 0 : static_cast<std::int64_t>(random() >> (1 + random() % 62));
    std::int64_t read = -1;
    const auto done =
        DecodeNote(Offset(position), EncodeNote(Offset(position), ranges, events), &read);
    ASSERT_TRUE(done.ok()) << done.status().message();
    ASSERT_EQ(*done, ranges);
    ASSERT_EQ(read, events);
  }
}

TEST(PositionNote, SaysNothingAboutAnotherPositionAndIgnoresWhatIsNotOurs) {
  const std::string note = EncodeNote(Offset(5), std::vector{Range(8, 9)});
  EXPECT_TRUE(DecodeNote(Offset(6), note)->empty());
  EXPECT_TRUE(DecodeNote(Offset(5), "written by another consumer")->empty());
}

TEST(PositionNote, DamageAndLaterVersionsAreErrorsAndNoRanges) {
  const std::string good = EncodeNote(Offset(5), std::vector{Range(8, 9), Range(300, 100'000)});
  for (const std::string& bad :
       {std::string("mr3:AAAA"), std::string("mr2:BQ"), std::string("mr1"), std::string("mr1:"),
        std::string("mr1:*"), good.substr(0, good.size() - 1), good + "AA", good + "\n",
        "mr1:" + std::string(kMaxNoteBytes, 'A')}) {
    EXPECT_FALSE(DecodeNote(Offset(5), bad).ok()) << bad;
  }
  EXPECT_EQ(DecodeNote(Offset(5), "mr3:AAAA").status().code(), StatusCode::kCorruption);
}

// Whatever the text, no crash, and ranges that ascend.
TEST(PositionNote, AnyTextIsReadOrRefused) {
  const std::uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  std::size_t read = 0;
  for (int round = 0; round < 100'000; ++round) {
    // The first digits of position 5, as a rule; after the events, with them.
    std::string text = random() % 2 == 0 ? "mr1:BQ" : "mr2:AQUB";
    for (auto left = random() % 24; left > 0; --left) text += kDigits[random() % 64];
    const auto done = DecodeNote(Offset(5), text);
    if (!done.ok()) continue;
    std::int64_t end = 4;  // The first may begin at the position.
    for (const OffsetRange& range : *done) {
      ASSERT_GT(range.first.value(), end) << text;
      ASSERT_GT(range.end, range.first) << text;
      end = range.end.value();
    }
    read += done->empty() ? 0 : 1;
  }
  EXPECT_GT(read, 100u);
}

TEST(CommittedSet, HoldsWhatIsBelowThePositionAndInTheRanges) {
  const CommittedSet set{Offset(10), {Range(12, 14), Range(20, 21)}};
  const std::vector<std::int64_t> in = {0, 9, 12, 13, 20};
  for (std::int64_t offset = 0; offset < 30; ++offset) {
    const bool expected = offset < 10 || std::find(in.begin(), in.end(), offset) != in.end();
    EXPECT_EQ(set.Has(Offset(offset)), expected) << offset;
  }
}

}  // namespace
}  // namespace millrace
