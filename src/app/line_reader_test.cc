#include "app/line_reader.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <random>
#include <string>
#include <thread>
#include <vector>

namespace millrace {
namespace {

class Pipe {
 public:
  Pipe() { EXPECT_EQ(::pipe(ends_), 0); }
  ~Pipe() {
    Close();
    ::close(ends_[0]);
  }
  void Write(std::string_view text) {
    while (!text.empty()) {
      const ssize_t n = ::write(ends_[1], text.data(), text.size());
      ASSERT_GT(n, 0);
      text.remove_prefix(static_cast<std::size_t>(n));
    }
  }
  void Close() {
    if (ends_[1] >= 0) ::close(std::exchange(ends_[1], -1));
  }
  int fd() const { return ends_[0]; }

 private:
  int ends_[2] = {-1, -1};
};

TEST(LineReader, GivesEveryLineOnceHoweverItArrives) {
  const std::uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  std::vector<std::string> lines;
  std::string text;
  for (int i = 0; i < 3000; ++i) {
    const std::size_t size = random() % 500 == 0 ? random() % 900'000 : random() % 300;
    lines.emplace_back(size, static_cast<char>('a' + i % 26));
    text += lines.back() + "\n";
  }
  lines.emplace_back("without a line break");
  text += lines.back();
  Pipe pipe;
  std::thread writer([&] {
    std::string_view rest = text;
    while (!rest.empty()) {
      const std::string_view part = rest.substr(0, 1 + random() % 100'000);
      pipe.Write(part);
      rest.remove_prefix(part.size());
    }
    pipe.Close();
  });
  LineReader reader(pipe.fd());
  std::vector<std::string> got;
  for (bool more = true; more;) {
    std::string_view line;
    switch (reader.Next(Millis(1000), &line)) {
      case LineReader::Event::kLine:
        got.emplace_back(line);
        EXPECT_EQ(reader.line_number(), static_cast<std::int64_t>(got.size()));
        break;
      case LineReader::Event::kIdle:
        break;
      case LineReader::Event::kEnd:
        more = false;
        break;
      case LineReader::Event::kTooLong:
      case LineReader::Event::kError:
        ADD_FAILURE();
        more = false;
    }
  }
  writer.join();
  ASSERT_EQ(got.size(), lines.size());
  EXPECT_TRUE(got == lines);
}

TEST(LineReader, SaysWhenNothingComesInTime) {
  Pipe pipe;
  LineReader reader(pipe.fd());
  std::string_view line;
  EXPECT_EQ(reader.Next(Millis(1), &line), LineReader::Event::kIdle);
  pipe.Write("half");
  EXPECT_EQ(reader.Next(Millis(1), &line), LineReader::Event::kIdle);
  pipe.Write(" a line\n");
  ASSERT_EQ(reader.Next(Millis(1000), &line), LineReader::Event::kLine);
  EXPECT_EQ(line, "half a line");
  pipe.Close();
  EXPECT_EQ(reader.Next(Millis(1000), &line), LineReader::Event::kEnd);
}

TEST(LineReader, SkipsALineThatIsTooLongAndGoesOn) {
  Pipe pipe;
  std::thread writer([&] {
    pipe.Write("first\n" + std::string(LineReader::kMaxLineBytes * 2 + 5, 'x') + "\nthird\n");
    pipe.Close();
  });
  LineReader reader(pipe.fd());
  std::string_view line;
  std::vector<LineReader::Event> events;
  do {
    events.push_back(reader.Next(Millis(5000), &line));
    if (reader.line_number() == 3 && events.back() == LineReader::Event::kLine) {
      EXPECT_EQ(line, "third");
    }
  } while (events.back() != LineReader::Event::kEnd && events.size() < 10);
  writer.join();
  EXPECT_EQ(events, (std::vector{LineReader::Event::kLine, LineReader::Event::kTooLong,
                                 LineReader::Event::kLine, LineReader::Event::kEnd}));
}

}  // namespace
}  // namespace millrace
