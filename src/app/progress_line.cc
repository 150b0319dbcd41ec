#include "app/progress_line.h"

#include <fmt/format.h>

#include <cstdio>

namespace millrace {
namespace {

constexpr Millis kInterval{200};
constexpr const char* kEraseLine = "\r\x1B[K";

}  // namespace

bool ProgressLine::Due() {
  if (!enabled_) return false;
  const MonoTime now = SystemClock().Now();
  if (now < next_) return false;
  next_ = now + kInterval;
  return true;
}

void ProgressLine::Show(const std::string& text) {
  if (!enabled_) return;
  fmt::print(stderr, "{}{}", kEraseLine, text);
  std::fflush(stderr);
  shown_ = true;
}

void ProgressLine::Clear() {
  if (!shown_) return;
  fmt::print(stderr, "{}", kEraseLine);
  std::fflush(stderr);
  shown_ = false;
}

}  // namespace millrace
