#include "codec/replayed_record.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "codec/failure_headers_internal.h"
#include "codec/outcome_encoder.h"

namespace millrace {
namespace {

// What a replay, a parking or a log's limit added to a dead letter, besides the failure's own.
constexpr std::array<std::string_view, 5> kOtherAdditions = {
    kReplayId, "original_value_bytes", "original_value_null", kParkedFrom, kParkedAt};

bool IsAddition(std::string_view name) {
  return IsFailureHeader(name) ||
         std::find(kOtherAdditions.begin(), kOtherAdditions.end(), name) != kOtherAdditions.end();
}

// Whether the request says by itself, in its value or its key, what the header says.
bool SaysItself(const Header& header, const RequestFields& fields, std::string_view key) {
  if (header.name == "model_id") return header.value == fields.model_id;
  if (!fields.tenant_id.empty()) return header.value == fields.tenant_id;
  const std::size_t bar = key.rfind('|');
  return bar != std::string_view::npos && header.value == key.substr(0, bar);
}

void WriteRequestHeaders(const Record& letter, const RequestFields& fields, std::string_view key,
                         HeaderWriter& writer) {
  bool own = letter.headers.Find(kFirstFailureHeader).has_value();
  for (const Header& header : letter.headers) {
    if (header.name == kFirstFailureHeader) own = false;
    if (IsAddition(header.name)) continue;
    const bool found_out = !own && (header.name == "model_id" || header.name == "tenant_id");
    if (!found_out || !SaysItself(header, fields, key)) writer.Copy(header);
  }
}

class Piece {
 public:
  explicit Piece(const ByteBuffer& bytes) : bytes_(bytes), from_(bytes.size()) {}
  ByteSpan span() const {
    return {static_cast<std::uint32_t>(from_), static_cast<std::uint32_t>(bytes_.size() - from_)};
  }

 private:
  const ByteBuffer& bytes_;
  const std::size_t from_;
};

void Finish(const Record& letter, std::string_view key_bytes, const ByteSpan& headers,
            WallMillis now, OutputChunk& chunk, OutputRecord* out) {
  const Piece key(chunk.bytes);
  chunk.bytes.Append(key_bytes);
  out->key = key.span();
  const Piece value(chunk.bytes);
  chunk.bytes.Append(letter.value);
  out->value = value.span();
  out->headers = headers;
  out->chunk = &chunk;
  out->timestamp = now;
  out->topic = OutputTopic::kResults;
}

}  // namespace

std::int32_t EarlierAttempts(const HeadersView& headers) {
  const auto text = headers.Find(kAttempts);
  if (!text || !(headers.Find(kReplayId) || headers.Find(kFirstFailureHeader))) return 0;
  std::int32_t attempts = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), attempts);
  const bool whole = error == std::errc() && end == text->data() + text->size();
  return whole ? std::clamp(attempts, 0, kMaxAttempts) : 0;
}

ReplayObstacle ObstacleOf(const Record& letter) {
  if (letter.headers.Find("original_value_bytes")) return ReplayObstacle::kCut;
  const bool none = !letter.has_value || letter.headers.Find("original_value_null") == "true";
  return none ? ReplayObstacle::kNoValue : ReplayObstacle::kNone;
}

void EncodeReplayed(const Record& letter, const RequestFields& fields, std::string_view replay_id,
                    WallMillis now, OutputChunk& chunk, OutputRecord* out) {
  const bool is_letter = letter.headers.Find(kFirstFailureHeader).has_value();
  const std::string_view key =
      is_letter ? letter.headers.Find("original_key").value_or(std::string_view()) : letter.key;
  const Piece headers(chunk.bytes);
  HeaderWriter writer(chunk.bytes);
  WriteRequestHeaders(letter, fields, key, writer);
  writer.Text(kReplayId, replay_id);
  writer.Integer(kAttempts, std::max(EarlierAttempts(letter.headers), 1));
  Finish(letter, key, headers.span(), now, chunk, out);
}

void EncodeParked(const Record& letter, std::string_view from, WallMillis now, OutputChunk& chunk,
                  OutputRecord* out) {
  std::array<char, kRfc3339MillisBytes> at;
  FormatRfc3339Millis(now, at.data());
  const Piece headers(chunk.bytes);
  HeaderWriter writer(chunk.bytes);
  for (const Header& header : letter.headers) {
    if (header.name != kParkedFrom && header.name != kParkedAt) writer.Copy(header);
  }
  writer.Text(kParkedFrom, from);
  writer.Text(kParkedAt, {at.data(), at.size()});
  Finish(letter, letter.key, headers.span(), now, chunk, out);
}

}  // namespace millrace
