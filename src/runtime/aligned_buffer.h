// AlignedBuffer: zeroed memory on a 64-byte boundary, for tensors.
//
// Owns its memory. Not thread-safe. Never throws: who asks for memory learns that there is none.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>

namespace millrace {

inline constexpr std::size_t kTensorAlignment = 64;
// The largest tensor that a Runner keeps memory for.
inline constexpr std::size_t kMaxTensorBytes = std::size_t{1} << 30;

class AlignedBuffer {
 public:
  std::byte* data() const { return data_.get(); }
  std::size_t size() const { return size_; }

  // Has at least `bytes` bytes afterwards: zeroed ones when it grew, else as they were. False when
  // there is no such memory; it is then as it was.
  [[nodiscard]] bool Grow(std::size_t bytes) {
    if (bytes <= size_) return true;
    const std::size_t rounded =
        (bytes + kTensorAlignment - 1) / kTensorAlignment * kTensorAlignment;
    auto* grown = static_cast<std::byte*>(std::aligned_alloc(kTensorAlignment, rounded));
    if (grown == nullptr) return false;
    std::memset(grown, 0, rounded);
    data_.reset(grown);
    size_ = rounded;
    return true;
  }

  void Free() {
    data_.reset();
    size_ = 0;
  }

 private:
  struct Freeing {
    void operator()(std::byte* p) const { std::free(p); }
  };
  std::unique_ptr<std::byte, Freeing> data_;
  std::size_t size_ = 0;
};

}  // namespace millrace
