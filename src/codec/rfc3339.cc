#if defined(__SSSE3__)
#include <tmmintrin.h>
#endif

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

struct Parts {
  int year = 0;
  int month = 0;
  int day = 0;
  std::int64_t millis = 0;  // Of the day.
};

std::optional<WallMillis> MakeTime(const Parts& parts) {
  const std::chrono::year_month_day date{std::chrono::year(parts.year),
                                         std::chrono::month(static_cast<unsigned>(parts.month)),
                                         std::chrono::day(static_cast<unsigned>(parts.day))};
  if (!date.ok()) return std::nullopt;
  const std::int64_t days = std::chrono::sys_days(date).time_since_epoch().count();
  return days * kMillisPerDay + parts.millis;
}

#if defined(__SSSE3__)
// Reads what FormatRfc3339Millis writes, as nearly all times are; false: any other text, and that
// may be a time as well. REQUIRES: kRfc3339MillisBytes characters at `text`.
bool ReadPlain(const char* text, Parts* out) {
  const __m128i front = _mm_loadu_si128(reinterpret_cast<const __m128i*>(text));
  const __m128i back = _mm_loadu_si128(reinterpret_cast<const __m128i*>(text + 8));
  // Digits become their values, other characters become 0 when they are right. Adding what a byte
  // may not exceed tells, for the sum stops at 0xFF.
  constexpr char kD = 0x7F - 9;
  constexpr char kX = 0x7F;
  const __m128i date = _mm_xor_si128(front, _mm_setr_epi8('0', '0', '0', '0', '-', '0', '0', '-',
                                                          '0', '0', 'T', '0', '0', ':', '0', '0'));
  const __m128i time = _mm_xor_si128(back, _mm_setr_epi8('0', '0', 'T', '0', '0', ':', '0', '0',
                                                         ':', '0', '0', '.', '0', '0', '0', 'Z'));
  const __m128i date_room =
      _mm_setr_epi8(kD, kD, kD, kD, kX, kD, kD, kX, kD, kD, kX, kD, kD, kX, kD, kD);
  const __m128i time_room =
      _mm_setr_epi8(kD, kD, kX, kD, kD, kX, kD, kD, kX, kD, kD, kX, kD, kD, kD, kX);
  const __m128i wrong =
      _mm_or_si128(_mm_adds_epu8(date, date_room), _mm_adds_epu8(time, time_room));
  // Year (four digits), month, day, hour, minute, second, hundredths.
  constexpr char kNone = -1;
  const __m128i digits = _mm_or_si128(
      _mm_shuffle_epi8(
          date, _mm_setr_epi8(0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, kNone, kNone, kNone, kNone)),
      _mm_shuffle_epi8(time, _mm_setr_epi8(kNone, kNone, kNone, kNone, kNone, kNone, kNone, kNone,
                                           kNone, kNone, kNone, kNone, 9, 10, 12, 13)));
  const __m128i pairs = _mm_maddubs_epi16(digits, _mm_set1_epi16(10 + (1 << 8)));
  // Second 60 is a leap second. MakeTime judges the date.
  const __m128i most = _mm_setr_epi16(99, 99, 99, 99, 23, 59, 60, 99);
  if (_mm_movemask_epi8(_mm_or_si128(wrong, _mm_cmpgt_epi16(pairs, most))) != 0) return false;

  const __m128i sums = _mm_madd_epi16(pairs, _mm_setr_epi16(100, 1, 100, 1, 60, 1, 1000, 10));
  const auto first = static_cast<std::uint64_t>(_mm_cvtsi128_si64(sums));
  const auto second = static_cast<std::uint64_t>(_mm_cvtsi128_si64(_mm_unpackhi_epi64(sums, sums)));
  const auto month_day = static_cast<int>(first >> 32);
  out->year = static_cast<int>(first & 0xFFFF);
  out->month = month_day / 100;
  out->day = month_day % 100;
  out->millis =
      static_cast<std::int64_t>((second & 0xFFFF) * 60'000 + (second >> 32)) + (text[22] - '0');
  return true;
}
#else
bool ReadPlain(const char*, Parts*) { return false; }
#endif

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
  Parts parts;
  if (text.size() == kRfc3339MillisBytes && ReadPlain(text.data(), &parts)) return MakeTime(parts);
  Reader reader{text};
  parts.year = reader.Digits(4);
  reader.Expect("-");
  parts.month = reader.Digits(2);
  reader.Expect("-");
  parts.day = reader.Digits(2);
  reader.Expect("Tt ");
  const int hour = reader.Digits(2);
  reader.Expect(":");
  const int minute = reader.Digits(2);
  reader.Expect(":");
  const int second = reader.Digits(2);
  const int millis = ReadFraction(reader);
  const int offset = ReadOffset(reader);
  if (!reader.ok || !reader.rest.empty()) return std::nullopt;
  // Second 60 is a leap second.
  if (hour > 23 || minute > 59 || second > 60) return std::nullopt;
  parts.millis = ((std::int64_t{hour} * 60 + minute - offset) * 60 + second) * 1000 + millis;
  return MakeTime(parts);
}

}  // namespace millrace
