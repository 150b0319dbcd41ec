// ProgressLine: one line on stderr that is written over while work goes on.
//
// Does nothing unless stderr is a terminal. Whoever prints to stderr in between calls Clear first.
// One thread.
#pragma once

#include <string>

#include "base/clock.h"

namespace millrace {

class ProgressLine {
 public:
  explicit ProgressLine(bool enabled) : enabled_(enabled) {}
  ~ProgressLine() { Clear(); }
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  // Whether it is time for another Show: a few times a second.
  bool Due();
  void Show(const std::string& text);
  void Clear();

 private:
  const bool enabled_;
  bool shown_ = false;
  MonoTime next_{};
};

}  // namespace millrace
