#include <chrono>
#include <cstring>

#include "codec/outcome_encoder.h"

namespace millrace {
namespace {

// A longer text is no time anyone wrote; the limit keeps what travels to the result short.
constexpr std::size_t kMaxRfc3339Bytes = 64;
constexpr std::int64_t kMillisPerDay = 86'400'000;
constexpr WallMillis kFirstWritable = -62'167'219'200'000;  // 0000-01-01T00:00:00.000Z
constexpr WallMillis kLastWritable = 253'402'300'799'999;   // 9999-12-31T23:59:59.999Z

void WriteDigits(std::int64_t number, int digits, char* out) {
  for (int i = digits - 1; i >= 0; --i) {
    out[i] = static_cast<char>('0' + number % 10);
    number /= 10;
  }
}

// Takes fixed pieces off the front of a text; once one is missing, `ok` stays false.
struct Reader {
  std::string_view rest;
  bool ok = true;

  int Digits(std::size_t count) {
    int number = 0;
    if (rest.size() < count) {
      ok = false;
      return 0;
    }
    for (std::size_t i = 0; i < count; ++i) {
      if (rest[i] < '0' || rest[i] > '9') ok = false;
      number = number * 10 + (rest[i] - '0');
    }
    rest.remove_prefix(count);
    return number;
  }
  bool Peek(std::string_view any_of) const {
    if (rest.empty()) return false;
    // A loop over so few is cheaper than a call that looks for one.
    for (const char c : any_of) {
      if (c == rest[0]) return true;
    }
    return false;
  }
  bool PeekDigit() const { return !rest.empty() && rest[0] >= '0' && rest[0] <= '9'; }
  void Expect(std::string_view any_of) {
    if (!Peek(any_of)) {
      ok = false;
      return;
    }
    rest.remove_prefix(1);
  }
};

// Milliseconds of ".123456"; 0 when there is no fraction.
int ReadFraction(Reader& reader) {
  if (!reader.Peek(".")) return 0;
  reader.Expect(".");
  int millis = 0;
  int scale = 100;
  if (!reader.PeekDigit()) reader.ok = false;
  while (reader.PeekDigit()) {
    millis += scale * reader.Digits(1);
    scale /= 10;
  }
  return millis;
}

// Minutes east of UTC.
int ReadOffset(Reader& reader) {
  if (reader.Peek("Zz")) {
    reader.Expect("Zz");
    return 0;
  }
  const bool west = reader.Peek("-");
  reader.Expect("+-");
  const int hours = reader.Digits(2);
  reader.Expect(":");
  const int minutes = reader.Digits(2);
  if (hours > 23 || minutes > 59) reader.ok = false;
  return (west ? -1 : 1) * (hours * 60 + minutes);
}

}  // namespace

void FormatRfc3339Millis(WallMillis time, char* out) {
  using std::chrono::days;
  using std::chrono::sys_days;
  time = time < kFirstWritable ? kFirstWritable : time > kLastWritable ? kLastWritable : time;
  std::int64_t day = time / kMillisPerDay;
  std::int64_t in_day = time % kMillisPerDay;
  if (in_day < 0) {
    in_day += kMillisPerDay;
    --day;
  }
  const std::chrono::year_month_day date{sys_days(days(day))};
  std::memcpy(out, "0000-00-00T00:00:00.000Z", kRfc3339MillisBytes);
  WriteDigits(static_cast<int>(date.year()), 4, out);
  WriteDigits(static_cast<unsigned>(date.month()), 2, out + 5);
  WriteDigits(static_cast<unsigned>(date.day()), 2, out + 8);
  WriteDigits(in_day / 3'600'000, 2, out + 11);
  WriteDigits(in_day / 60'000 % 60, 2, out + 14);
  WriteDigits(in_day / 1000 % 60, 2, out + 17);
  WriteDigits(in_day % 1000, 3, out + 20);
}

std::optional<WallMillis> ParseRfc3339(std::string_view text) {
  if (text.size() > kMaxRfc3339Bytes) return std::nullopt;
  Reader reader{text};
  const int year = reader.Digits(4);
  reader.Expect("-");
  const int month = reader.Digits(2);
  reader.Expect("-");
  const int day = reader.Digits(2);
  reader.Expect("Tt ");
  const int hour = reader.Digits(2);
  reader.Expect(":");
  const int minute = reader.Digits(2);
  reader.Expect(":");
  const int second = reader.Digits(2);
  const int millis = ReadFraction(reader);
  const int offset = ReadOffset(reader);
  if (!reader.ok || !reader.rest.empty()) return std::nullopt;

  const std::chrono::year_month_day date{std::chrono::year(year),
                                         std::chrono::month(static_cast<unsigned>(month)),
                                         std::chrono::day(static_cast<unsigned>(day))};
  // Second 60 is a leap second.
  if (!date.ok() || hour > 23 || minute > 59 || second > 60) return std::nullopt;
  const std::int64_t days = std::chrono::sys_days(date).time_since_epoch().count();
  const std::int64_t seconds = (std::int64_t{hour} * 60 + minute - offset) * 60 + second;
  return days * kMillisPerDay + seconds * 1000 + millis;
}

}  // namespace millrace
