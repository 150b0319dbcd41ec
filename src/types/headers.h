// Record headers in one flat block of bytes, and the view and writer for it.
//
// Layout, repeated: u16 name size, u32 value size, name, value; little endian. A value size of
// kNullHeader means a null value (Kafka has those). The block is what the local log stores and what
// travels through the pipeline, so that carrying headers from a request to its outcome is one copy.
// A HeadersView borrows; whoever owns the bytes owns its lifetime. Names may repeat; the last wins.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>

#include "base/byte_buffer.h"

namespace millrace {

static_assert(std::endian::native == std::endian::little, "the header block is little endian");

struct Header {
  std::string_view name;
  std::string_view value;  // Empty when null.
  bool is_null = false;
};

class HeadersView {
 public:
  static constexpr std::uint32_t kNullHeader = 0xFFFFFFFF;
  static constexpr std::size_t kPrefixBytes = 6;

  HeadersView() = default;
  explicit HeadersView(std::string_view block) : block_(block) {}

  class Iterator {
   public:
    explicit Iterator(std::string_view rest) : rest_(rest) { Read(); }
    const Header& operator*() const { return header_; }
    const Header* operator->() const { return &header_; }
    Iterator& operator++() {
      rest_.remove_prefix(entry_bytes_);
      Read();
      return *this;
    }
    bool operator!=(const Iterator& other) const { return rest_.size() != other.rest_.size(); }

   private:
    inline void Read();

    std::string_view rest_;
    Header header_;
    std::size_t entry_bytes_ = 0;
  };

  Iterator begin() const { return Iterator(block_); }
  Iterator end() const { return Iterator(std::string_view()); }
  bool empty() const { return block_.empty(); }
  std::string_view block() const { return block_; }

  // Value of the last header called `name`; nothing when absent or null.
  std::optional<std::string_view> Find(std::string_view name) const;

  // Whether the block is well formed. A view of a block that is not ends at the first damage.
  bool Valid() const;

 private:
  std::string_view block_;
};

// Inline: several headers for each record, on the thread that commits.
void HeadersView::Iterator::Read() {
  if (rest_.size() < kPrefixBytes) {
    rest_ = {};
    return;
  }
  std::uint16_t name_size = 0;
  std::uint32_t value_size = 0;
  std::memcpy(&name_size, rest_.data(), sizeof name_size);
  std::memcpy(&value_size, rest_.data() + sizeof name_size, sizeof value_size);
  header_.is_null = value_size == kNullHeader;
  const std::size_t value_bytes = header_.is_null ? 0 : value_size;
  entry_bytes_ = kPrefixBytes + name_size + value_bytes;
  if (rest_.size() < entry_bytes_) {
    rest_ = {};
    return;
  }
  header_.name = rest_.substr(kPrefixBytes, name_size);
  header_.value = rest_.substr(kPrefixBytes + name_size, value_bytes);
}

// Appends one header to `out` in the layout above. REQUIRES: name.size() < 65536.
void AppendHeader(std::string_view name, std::string_view value, ByteBuffer& out);
void AppendNullHeader(std::string_view name, ByteBuffer& out);

}  // namespace millrace
