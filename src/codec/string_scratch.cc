#include "codec/string_scratch.h"

#include <algorithm>
#include <cstring>

namespace millrace {
namespace {

constexpr std::size_t kBlockBytes = 16 << 10;

}  // namespace

char* StringScratch::Allocate(std::size_t size) {
  for (; current_ < blocks_.size(); ++current_, used_ = 0) {
    Block& block = blocks_[current_];
    if (block.capacity - used_ >= size) {
      char* at = block.bytes.get() + used_;
      used_ += size;
      return at;
    }
  }
  Block block;
  block.capacity = std::max(size, kBlockBytes);
  block.bytes.reset(new char[block.capacity]);
  blocks_.push_back(std::move(block));
  used_ = size;
  return blocks_.back().bytes.get();
}

std::string_view StringScratch::Copy(std::string_view text) {
  if (text.empty()) return {};
  char* at = Allocate(text.size());
  std::memcpy(at, text.data(), text.size());
  return {at, text.size()};
}

std::byte* StringScratch::CopyAligned(const void* bytes, std::size_t size) {
  constexpr std::size_t kAlignment = 8;
  void* at = Allocate(size + kAlignment - 1);
  std::size_t space = size + kAlignment - 1;
  at = std::align(kAlignment, size, at, space);
  if (size > 0) std::memcpy(at, bytes, size);
  return static_cast<std::byte*>(at);
}

std::size_t StringScratch::capacity() const {
  std::size_t bytes = 0;
  for (const Block& block : blocks_) bytes += block.capacity;
  return bytes;
}

void StringScratch::Clear() {
  current_ = 0;
  used_ = 0;
}

}  // namespace millrace
