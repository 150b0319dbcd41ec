// Threads that an engine runs a model on besides the caller's, and whose they are.
//
// A model with models.<id>.intra_op_threads above 1 shares its runs out to such threads. When one
// of them dies of a fault, whoever looks for the cause has to know which model it worked for.
#pragma once

#include <functional>
#include <string>
#include <thread>

namespace millrace {

// Starts `body` on a thread ("mr-engine") that works for `model`, "id:version".
std::thread StartEngineThread(const std::string& model, std::function<void()> body);

// The model that the calling thread was started for; null on every other thread. Async-signal-safe.
const char* EngineThreadModel();

}  // namespace millrace
