// Confinement: what the process of a probe gives up before it looks at a model.
//
// A model that takes the process over should find nothing worth having: no network, no other
// program to start, no file to read but the model, none to write, no other process to reach, and
// bounds on memory and CPU time. All of it works without privileges; what a kernel does not offer
// is left out and named in the result. Nothing of it can be undone. Calling thread and those that
// it starts.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/clock.h"

namespace millrace {

struct ConfinementPlan {
  std::vector<std::string> readable;  // Files; besides what tells of this machine.
  std::int64_t memory_bytes = 0;      // That may be added to what is mapped now.
  Millis cpu{0};
};

// Core dumps, privileges and the kernel's choice when memory is scarce: at the start, before
// anything is loaded.
void LowerOwnRights();

// The rest, once the library is loaded. Names what is in force: "memory cpu files landlock
// seccomp".
std::string Confine(const ConfinementPlan& plan);

// Bytes of this process: mapped, and in memory as its own (not of a file, as code is, which the
// first model of any process brings in). 0 when /proc does not tell.
struct ProcessBytes {
  std::int64_t mapped = 0;
  std::int64_t own = 0;
};
ProcessBytes ReadProcessBytes();

}  // namespace millrace
