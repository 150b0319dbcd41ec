#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace millrace {

void CheckFailed(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "millrace: internal invariant broken: %s (%s:%d)\n", condition, file, line);
  std::abort();
}

}  // namespace millrace
