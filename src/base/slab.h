// Slab: bump allocation with stable addresses, for the rows of one polled batch.
//
// Blocks are kept when cleared, up to kKeptBytes, so that a warm slab allocates nothing. The first
// ones are small: a slab of one row holds little more than it.
// Consecutive allocations of one size are adjacent as long as a block lasts, which lets a batch be
// gathered with few copies. Not thread-safe.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

namespace millrace {

class Slab {
 public:
  static constexpr std::size_t kFirstBytes = 4 << 10;
  static constexpr std::size_t kBlockBytes = 256 << 10;
  static constexpr std::size_t kKeptBytes = 1 << 20;

  // `bytes` writable bytes aligned for any number type. Stay put until Clear.
  std::byte* Allocate(std::size_t bytes);
  // Gives back the last Allocate of the same size: its row was not used after all.
  void Undo(std::size_t bytes);
  void Clear();
  // Bytes held, used or not.
  std::size_t capacity() const;

 private:
  struct Block {
    std::unique_ptr<std::byte[]> bytes;
    std::size_t capacity = 0;
  };
  static std::size_t Rounded(std::size_t bytes) { return (bytes + 7) & ~std::size_t{7}; }

  std::vector<Block> blocks_;
  std::size_t current_ = 0;
  std::size_t used_ = 0;
};

}  // namespace millrace
