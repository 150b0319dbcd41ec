// ArithmeticMode: how the calling thread computes with denormal numbers, for a while.
//
// While it lives the thread flushes denormals to zero, or keeps them; afterwards it does what it
// did before, whatever a library has set meanwhile. One thread makes and destroys it.
#pragma once

#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "runtime/options.h"

namespace millrace {

class ArithmeticMode {
 public:
  explicit ArithmeticMode(Denormals denormals) : before_(Read()) {
    Write(denormals == Denormals::kFlush ? before_ | kFlushBits : before_ & ~kFlushBits);
  }
  ~ArithmeticMode() { Write(before_); }
  ArithmeticMode(const ArithmeticMode&) = delete;
  ArithmeticMode& operator=(const ArithmeticMode&) = delete;

 private:
#if defined(__x86_64__)
  using Word = std::uint32_t;
  static constexpr Word kFlushBits = 0x8040;  // Results (FTZ) and operands (DAZ).
  static Word Read() { return _mm_getcsr(); }
  static void Write(Word word) { _mm_setcsr(word); }
#elif defined(__aarch64__)
  using Word = std::uint64_t;
  static constexpr Word kFlushBits = Word{1} << 24;  // FZ: both.
  static Word Read() {
    Word word;
    asm volatile("mrs %0, fpcr" : "=r"(word));
    return word;
  }
  static void Write(Word word) { asm volatile("msr fpcr, %0" : : "r"(word)); }
#else
#error "say how this processor flushes denormals"
#endif

  const Word before_;
};

}  // namespace millrace
