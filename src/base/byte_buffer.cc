#include "base/byte_buffer.h"

#include <algorithm>

namespace millrace {

void ByteBuffer::Grow(std::size_t needed) {
  constexpr std::size_t kFirst = 4096;
  const std::size_t capacity = std::max({needed, capacity_ * 2, kFirst});
  // Not value-initialised: only the padding is, so that an overread sees defined bytes.
  std::unique_ptr<char[]> data(new char[capacity + kReadablePadding]);
  if (size_ > 0) std::memcpy(data.get(), data_.get(), size_);
  std::memset(data.get() + capacity, 0, kReadablePadding);
  data_ = std::move(data);
  capacity_ = capacity;
}

}  // namespace millrace
