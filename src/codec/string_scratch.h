// StringScratch: stable storage for the few strings that cannot be views into their record, and for
// tensors whose size only the record tells.
//
// Blocks are kept when cleared, so a warm scratch allocates nothing. Not thread-safe.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>
#include <vector>

namespace millrace {

class StringScratch {
 public:
  // A writable span of `size` bytes that stays put until Clear.
  char* Allocate(std::size_t size);
  std::string_view Copy(std::string_view text);
  // The same bytes, aligned for any number type.
  std::byte* CopyAligned(const void* bytes, std::size_t size);
  void Clear();
  // Bytes held, used or not.
  std::size_t capacity() const;

 private:
  struct Block {
    std::unique_ptr<char[]> bytes;
    std::size_t capacity = 0;
  };
  std::vector<Block> blocks_;
  std::size_t current_ = 0;  // Index of the block in use.
  std::size_t used_ = 0;     // Bytes of it.
};

}  // namespace millrace
