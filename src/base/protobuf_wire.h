// Protobuf's wire format: the fields of a message, one after the other, and how one is written.
//
// Knows no message type: a reader looks at the numbers it knows and passes over the others. Borrows
// the bytes that it reads and never looks past them, so any bytes are safe to give, and it never
// recurses: how deep messages nest is its caller's concern. Pure; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace millrace {

class WireReader {
 public:
  enum Wire : std::uint32_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };
  struct Field {
    std::uint32_t number = 0;
    std::uint32_t wire = kVarint;
    std::uint64_t value = 0;  // Of a varint.
    std::string_view bytes;   // Of a string or a message.
    std::string_view whole;   // With its tag.
  };

  explicit WireReader(std::string_view message) : rest_(message) {}

  // False at the end, and where the message is damaged.
  bool Next(Field* out) {
    if (rest_.empty() || !good_) return false;
    const std::string_view start = rest_;
    std::uint64_t tag = 0;
    good_ = Varint(&tag) && tag >> 3 != 0 && tag >> 3 <= UINT32_MAX;
    if (!good_) return false;
    out->number = static_cast<std::uint32_t>(tag >> 3);
    out->wire = static_cast<std::uint32_t>(tag & 7);
    good_ = ReadBody(out);
    out->whole = start.substr(0, start.size() - rest_.size());
    return good_;
  }
  // After Next has said false: whether that was the end.
  bool good() const { return good_; }

  bool Varint(std::uint64_t* out) {
    *out = 0;
    for (unsigned shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
      const auto byte = static_cast<std::uint8_t>(rest_.front());
      rest_.remove_prefix(1);
      *out |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return true;
    }
    return false;
  }

 private:
  bool ReadBody(Field* out) {
    out->bytes = {};
    std::uint64_t size = 0;
    switch (out->wire) {
      case kVarint:
        return Varint(&out->value);
      case kFixed64:
        size = 8;
        break;
      case kFixed32:
        size = 4;
        break;
      case kBytes:
        if (!Varint(&size)) return false;
        break;
      default:
        return false;
    }
    if (size > rest_.size()) return false;
    out->bytes = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return true;
  }

  std::string_view rest_;
  bool good_ = true;
};

// Calls `f(Field)` for each field of the message; false when it is damaged.
template <class F>
bool ForEachField(std::string_view message, F f) {
  WireReader reader(message);
  WireReader::Field field;
  while (reader.Next(&field)) f(field);
  return reader.good();
}

inline void AppendVarint(std::uint64_t value, std::string* out) {
  for (; value >= 0x80; value >>= 7) out->push_back(static_cast<char>(value | 0x80));
  out->push_back(static_cast<char>(value));
}

inline void AppendWireNumber(std::uint32_t number, std::uint64_t value, std::string* out) {
  AppendVarint(std::uint64_t{number} << 3 | WireReader::kVarint, out);
  AppendVarint(value, out);
}

inline void AppendWireBytes(std::uint32_t number, std::string_view bytes, std::string* out) {
  AppendVarint(std::uint64_t{number} << 3 | WireReader::kBytes, out);
  AppendVarint(bytes.size(), out);
  out->append(bytes);
}

}  // namespace millrace
