#include "runtime/engine_thread.h"

#include <utility>

#include "base/thread_name.h"

namespace millrace {
namespace {

thread_local const char* t_model = nullptr;

}  // namespace

std::thread StartEngineThread(const std::string& model, std::function<void()> body) {
  return std::thread([model, body = std::move(body)] {
    SetThreadName("mr-engine");
    t_model = model.c_str();
    body();
    t_model = nullptr;
  });
}

const char* EngineThreadModel() { return t_model; }

}  // namespace millrace
