// LineReader: lines of a file or a pipe, without waiting longer than the caller wants to.
//
// Lines are views into its buffer, followed by kReadablePadding readable bytes, valid until the
// next call. Lines beyond kMaxLineBytes are skipped and reported. Does not own the descriptor. One
// thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "base/clock.h"

namespace millrace {

class LineReader {
 public:
  static constexpr std::size_t kMaxLineBytes = 16 << 20;

  enum class Event : std::uint8_t {
    kLine,
    kIdle,     // None within max_wait, or a signal came.
    kTooLong,  // A line was skipped.
    kEnd,
    kError,  // errno says why.
  };

  explicit LineReader(int fd);

  // The next line without its line break; the last one needs none.
  Event Next(Millis max_wait, std::string_view* line);
  // Of the last line or kTooLong, from 1.
  std::int64_t line_number() const { return line_number_; }

 private:
  // Reads more behind end_. Answers kLine when there is more to look at.
  Event Fill(Millis max_wait);
  void MakeRoom();

  const int fd_;
  std::unique_ptr<char[]> buffer_;
  std::size_t capacity_;
  std::size_t begin_ = 0;    // Of what was not handed out yet.
  std::size_t scanned_ = 0;  // No line break before this.
  std::size_t end_ = 0;
  std::int64_t line_number_ = 0;
  bool at_end_ = false;
  bool skipping_ = false;  // Inside a line that is too long.
};

}  // namespace millrace
