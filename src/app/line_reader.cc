#include "app/line_reader.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/byte_buffer.h"

namespace millrace {
namespace {

constexpr std::size_t kFirstCapacity = 256 << 10;

std::unique_ptr<char[]> NewBuffer(std::size_t capacity) {
  auto buffer = std::unique_ptr<char[]>(new char[capacity + kReadablePadding]);
  std::memset(buffer.get() + capacity, 0, kReadablePadding);
  return buffer;
}

}  // namespace

LineReader::LineReader(int fd)
    : fd_(fd), buffer_(NewBuffer(kFirstCapacity)), capacity_(kFirstCapacity) {}

LineReader::Event LineReader::Next(Millis max_wait, std::string_view* line) {
  while (true) {
    const void* found =
        end_ > scanned_ ? std::memchr(buffer_.get() + scanned_, '\n', end_ - scanned_) : nullptr;
    if (found == nullptr && !at_end_) {
      scanned_ = end_;
      if (skipping_ || end_ - begin_ > kMaxLineBytes) {
        skipping_ = true;
        begin_ = scanned_ = end_ = 0;
      }
      if (const Event event = Fill(max_wait); event != Event::kLine) return event;
      continue;
    }
    if (found == nullptr && begin_ == end_ && !skipping_) return Event::kEnd;
    const std::size_t stop =
        found == nullptr
            ? end_
            : static_cast<std::size_t>(static_cast<const char*>(found) - buffer_.get());
    *line = {buffer_.get() + begin_, stop - begin_};
    begin_ = scanned_ = std::min(stop + 1, end_);
    ++line_number_;
    if (!skipping_ && line->size() <= kMaxLineBytes) return Event::kLine;
    skipping_ = false;
    *line = {};
    return Event::kTooLong;
  }
}

LineReader::Event LineReader::Fill(Millis max_wait) {
  pollfd waiting = {.fd = fd_, .events = POLLIN, .revents = 0};
  const int ready = ::poll(&waiting, 1, static_cast<int>(max_wait.count()));
  if (ready == 0 || (ready < 0 && errno == EINTR)) return Event::kIdle;
  if (ready < 0) return Event::kError;
  MakeRoom();
  const ssize_t got = ::read(fd_, buffer_.get() + end_, capacity_ - end_);
  if (got < 0) return errno == EINTR || errno == EAGAIN ? Event::kIdle : Event::kError;
  at_end_ = got == 0;
  end_ += static_cast<std::size_t>(got);
  return Event::kLine;
}

void LineReader::MakeRoom() {
  const std::size_t held = end_ - begin_;
  if (begin_ > 0 && held < capacity_ / 2) {
    std::memmove(buffer_.get(), buffer_.get() + begin_, held);
  } else if (end_ == capacity_ || held >= capacity_ / 2) {
    const std::size_t capacity = capacity_ * 2;
    auto bigger = NewBuffer(capacity);
    std::memcpy(bigger.get(), buffer_.get() + begin_, held);
    buffer_ = std::move(bigger);
    capacity_ = capacity;
  } else {
    return;
  }
  scanned_ -= begin_;
  end_ -= begin_;
  begin_ = 0;
}

}  // namespace millrace
