#include "base/slab.h"

#include <algorithm>

#include "base/check.h"

namespace millrace {

std::byte* Slab::Allocate(std::size_t bytes) {
  const std::size_t size = Rounded(bytes);
  while (current_ < blocks_.size() && used_ + size > blocks_[current_].capacity) {
    ++current_;
    used_ = 0;
  }
  if (current_ == blocks_.size()) {
    const std::size_t grown = std::clamp(this->capacity(), kFirstBytes, kBlockBytes);
    const std::size_t capacity = std::max(size, grown);
    // Default-initialised: every byte is written by the decoder before it is read.
    blocks_.push_back(Block{std::unique_ptr<std::byte[]>(new std::byte[capacity]), capacity});
  }
  std::byte* const at = blocks_[current_].bytes.get() + used_;
  used_ += size;
  return at;
}

void Slab::Undo(std::size_t bytes) {
  MILLRACE_DCHECK(used_ >= Rounded(bytes));
  used_ -= Rounded(bytes);
}

std::size_t Slab::capacity() const {
  std::size_t bytes = 0;
  for (const Block& block : blocks_) bytes += block.capacity;
  return bytes;
}

void Slab::Clear() {
  std::size_t kept = 0;
  std::size_t blocks = 0;
  while (blocks < blocks_.size() && kept + blocks_[blocks].capacity <= kKeptBytes) {
    kept += blocks_[blocks++].capacity;
  }
  blocks_.resize(blocks);
  current_ = 0;
  used_ = 0;
}

}  // namespace millrace
