#include "types/headers.h"

#include <bit>
#include <cstring>

#include "base/check.h"

namespace millrace {
namespace {

static_assert(std::endian::native == std::endian::little, "the header block is little endian");

void AppendPrefix(std::size_t name_size, std::uint32_t value_size, char* out) {
  const auto name = static_cast<std::uint16_t>(name_size);
  std::memcpy(out, &name, sizeof name);
  std::memcpy(out + sizeof name, &value_size, sizeof value_size);
}

}  // namespace

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

std::optional<std::string_view> HeadersView::Find(std::string_view name) const {
  std::optional<std::string_view> found;
  for (const Header& header : *this) {
    if (header.name == name) {
      found = header.is_null ? std::nullopt : std::optional(header.value);
    }
  }
  return found;
}

bool HeadersView::Valid() const {
  std::size_t bytes = 0;
  for (const Header& header : *this) {
    bytes += kPrefixBytes + header.name.size() + header.value.size();
  }
  return bytes == block_.size();
}

void AppendHeader(std::string_view name, std::string_view value, ByteBuffer& out) {
  MILLRACE_CHECK(name.size() <= 0xFFFF && value.size() < HeadersView::kNullHeader);
  const std::size_t bytes = HeadersView::kPrefixBytes + name.size() + value.size();
  char* at = out.Claim(bytes);
  AppendPrefix(name.size(), static_cast<std::uint32_t>(value.size()), at);
  std::memcpy(at + HeadersView::kPrefixBytes, name.data(), name.size());
  if (!value.empty()) {
    std::memcpy(at + HeadersView::kPrefixBytes + name.size(), value.data(), value.size());
  }
  out.Commit(bytes);
}

void AppendNullHeader(std::string_view name, ByteBuffer& out) {
  MILLRACE_CHECK(name.size() <= 0xFFFF);
  char* at = out.Claim(HeadersView::kPrefixBytes + name.size());
  AppendPrefix(name.size(), HeadersView::kNullHeader, at);
  std::memcpy(at + HeadersView::kPrefixBytes, name.data(), name.size());
  out.Commit(HeadersView::kPrefixBytes + name.size());
}

}  // namespace millrace
