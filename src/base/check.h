// MILLRACE_CHECK: an invariant that ends the process when it does not hold, in every build.
//
// For conditions that only a defect in Millrace can break, where going on could lose or double an
// outcome. Never for input, never for an error of a dependency: those return a Status.
// MILLRACE_DCHECK is for conditions too dear to test per record; it is active in debug and
// sanitizer builds.
#pragma once

namespace millrace {

[[noreturn]] void CheckFailed(const char* condition, const char* file, int line);

}  // namespace millrace

#define MILLRACE_CHECK(condition)                              \
  do {                                                         \
    if (!(condition)) [[unlikely]] {                           \
      ::millrace::CheckFailed(#condition, __FILE__, __LINE__); \
    }                                                          \
  } while (false)

#ifdef NDEBUG
#define MILLRACE_DCHECK(condition) \
  do {                             \
    (void)sizeof(condition);       \
  } while (false)
#else
#define MILLRACE_DCHECK(condition) MILLRACE_CHECK(condition)
#endif
