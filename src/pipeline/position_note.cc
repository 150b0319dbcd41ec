#include "pipeline/position_note.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <iterator>
#include <limits>

#include "base/check.h"

namespace millrace {
namespace {

constexpr std::string_view kOurs = "mr";
constexpr std::string_view kVersion1 = "mr1:";
constexpr std::string_view kVersion2 = "mr2:";
constexpr std::string_view kDigits =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
constexpr std::uint8_t kNoDigit = 0xFF;

constexpr std::array<std::uint8_t, 256> kDigitValues = [] {
  std::array<std::uint8_t, 256> values{};
  values.fill(kNoDigit);
  for (std::size_t i = 0; i < kDigits.size(); ++i) {
    values[static_cast<unsigned char>(kDigits[i])] = static_cast<std::uint8_t>(i);
  }
  return values;
}();

void PutVarint(std::uint64_t number, std::string* out) {
  for (; number >= 0x80; number >>= 7) out->push_back(static_cast<char>(number | 0x80));
  out->push_back(static_cast<char>(number));
}

std::string ToBase64(std::string_view bytes, std::string_view prefix) {
  std::string text(prefix);
  text.reserve(prefix.size() + (bytes.size() * 4 + 2) / 3);
  std::uint32_t bits = 0;
  int count = 0;
  for (const char byte : bytes) {
    bits = bits << 8 | static_cast<unsigned char>(byte);
    for (count += 8; count >= 6; count -= 6) text.push_back(kDigits[bits >> (count - 6) & 63]);
  }
  if (count > 0) text.push_back(kDigits[bits << (6 - count) & 63]);
  return text;
}

// False when the text has another character, or bits that no byte has.
bool FromBase64(std::string_view text, std::string* bytes) {
  std::uint32_t bits = 0;
  int count = 0;
  for (const char digit : text) {
    const std::uint8_t value = kDigitValues[static_cast<unsigned char>(digit)];
    if (value == kNoDigit) return false;
    bits = bits << 6 | value;
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes->push_back(static_cast<char>(bits >> count));
  }
  return count < 6 && (bits & ((1u << count) - 1)) == 0;
}

class VarintReader {
 public:
  explicit VarintReader(std::string_view bytes) : bytes_(bytes) {}
  bool empty() const { return bytes_.empty(); }
  // False at the end, in the middle of a number, and for one of more than 63 bits.
  bool Read(std::int64_t* number) {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 63 && !bytes_.empty(); shift += 7) {
      const auto byte = static_cast<unsigned char>(bytes_.front());
      bytes_.remove_prefix(1);
      value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) {
        *number = static_cast<std::int64_t>(value);
        return true;
      }
    }
    return false;
  }

 private:
  std::string_view bytes_;
};

Status Damaged(Offset position, std::string_view note) {
  return {
      StatusCode::kCorruption,
      fmt::format("the note beside the committed position {} cannot be read ('{}', {} bytes): it "
                  "is damaged, or of a later version of Millrace; start that one, or commit "
                  "the position again without metadata, and what was done beyond it is done "
                  "again",
                  position.value(), note.substr(0, 24), note.size())};
}

}  // namespace

bool CommittedSet::Has(Offset offset) const {
  if (offset < position) return true;
  const auto after = std::upper_bound(
      beyond.begin(), beyond.end(), offset,
      [](Offset wanted, const OffsetRange& range) { return wanted < range.first; });
  return after != beyond.begin() && offset < std::prev(after)->end;
}

std::size_t VarintBytes(std::uint64_t number) {
  std::size_t bytes = 1;
  for (; number >= 0x80; number >>= 7) ++bytes;
  return bytes;
}

std::string EncodeNote(Offset position, std::span<const OffsetRange> done, std::int64_t events) {
  if (done.empty() && events == 0) return {};
  std::string varints;
  if (events > 0) PutVarint(static_cast<std::uint64_t>(events), &varints);
  PutVarint(static_cast<std::uint64_t>(position.value()), &varints);
  std::int64_t end = position.value();
  for (const OffsetRange& range : done) {
    const bool apart =
        range.first.value() > end || (&range == done.data() && range.first == position);
    MILLRACE_CHECK(apart && range.end > range.first);
    PutVarint(static_cast<std::uint64_t>(range.first.value() - end), &varints);
    PutVarint(static_cast<std::uint64_t>(range.end.value() - range.first.value()), &varints);
    end = range.end.value();
  }
  return ToBase64(varints, events > 0 ? kVersion2 : kVersion1);
}

Result<std::vector<OffsetRange>> DecodeNote(Offset position, std::string_view note,
                                            std::int64_t* events) {
  std::vector<OffsetRange> done;
  if (events != nullptr) *events = 0;
  if (!note.starts_with(kOurs)) return done;
  std::string bytes;
  const bool has_events = note.starts_with(kVersion2);
  if (note.size() > kMaxNoteBytes || (!has_events && !note.starts_with(kVersion1)) ||
      !FromBase64(note.substr(kVersion1.size()), &bytes)) {
    return Damaged(position, note);
  }
  VarintReader varints(bytes);
  std::int64_t seen = 0;
  std::int64_t end = 0;
  if ((has_events && !varints.Read(&seen)) || !varints.Read(&end)) return Damaged(position, note);
  if (end != position.value()) return done;
  if (events != nullptr) *events = seen;
  while (!varints.empty()) {
    std::int64_t gap = 0;
    std::int64_t count = 0;
    if (!varints.Read(&gap) || !varints.Read(&count) || count < 1 || gap < (done.empty() ? 0 : 1)) {
      return Damaged(position, note);
    }
    constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
    if (gap > kMax - end || count > kMax - end - gap) return Damaged(position, note);
    done.push_back(OffsetRange{Offset(end + gap), Offset(end + gap + count)});
    end += gap + count;
  }
  return done;
}

}  // namespace millrace
