// ByteBuffer: a growable byte array that keeps its memory when cleared.
//
// Encoders append to it without a bounds check per byte: Reserve(n) once, then write through
// Claim/Commit. It never shrinks by itself; ShrinkTo bounds what an idle buffer may keep. Every
// buffer has kReadablePadding readable bytes after its last byte, so that SIMD parsers may
// overread. Not thread-safe. Offsets stay valid when the buffer grows; pointers do not.
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <string_view>

namespace millrace {

// Bytes that may be read, not written, behind every record value (simdjson needs 64).
inline constexpr std::size_t kReadablePadding = 64;

class ByteBuffer {
 public:
  ByteBuffer() = default;
  ByteBuffer(ByteBuffer&&) noexcept = default;
  ByteBuffer& operator=(ByteBuffer&&) noexcept = default;

  std::size_t size() const { return size_; }
  std::size_t capacity() const { return capacity_; }
  const char* data() const { return data_.get(); }
  char* data() { return data_.get(); }
  std::string_view view() const { return {data_.get(), size_}; }
  std::string_view view(std::size_t at, std::size_t size) const { return {data_.get() + at, size}; }

  void Clear() { size_ = 0; }

  // Makes room for `more` further bytes and returns where they start.
  char* Claim(std::size_t more) {
    if (size_ + more > capacity_) Grow(size_ + more);
    return data_.get() + size_;
  }
  // Takes the first `used` bytes of the last Claim as written. REQUIRES: used <= claimed.
  void Commit(std::size_t used) { size_ += used; }
  // Commits up to `end`, a pointer into the last Claim.
  void CommitTo(const char* end) { size_ = static_cast<std::size_t>(end - data_.get()); }

  void Append(std::string_view bytes) {
    if (bytes.empty()) return;
    std::memcpy(Claim(bytes.size()), bytes.data(), bytes.size());
    size_ += bytes.size();
  }
  void Append(char c) {
    *Claim(1) = c;
    ++size_;
  }

  // Frees the memory when the buffer has grown beyond `max_capacity`. Clears it.
  void ShrinkTo(std::size_t max_capacity) {
    size_ = 0;
    if (capacity_ > max_capacity) {
      data_.reset();
      capacity_ = 0;
    }
  }

 private:
  void Grow(std::size_t needed);

  std::unique_ptr<char[]> data_;
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;
};

}  // namespace millrace
