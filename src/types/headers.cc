#include "types/headers.h"

#include <cstring>

#include "base/check.h"

namespace millrace {
namespace {

void AppendPrefix(std::size_t name_size, std::uint32_t value_size, char* out) {
  const auto name = static_cast<std::uint16_t>(name_size);
  std::memcpy(out, &name, sizeof name);
  std::memcpy(out + sizeof name, &value_size, sizeof value_size);
}

}  // namespace

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
