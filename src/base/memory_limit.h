// How much memory this process may have.
//
// Reads files of the kernel's: not for the data plane. Any thread.
#pragma once

#include <cstdint>

namespace millrace {

// Bytes: the tightest limit of the process's cgroups, or what the machine has.
std::int64_t MemoryLimit();

}  // namespace millrace
