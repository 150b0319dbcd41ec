#include "runtime/engine.h"

namespace millrace {

Status Runner::SetRowShape(std::size_t, std::span<const std::int64_t>, std::size_t) {
  return {StatusCode::kUnsupported, "this engine has no inputs whose shape is each row's own"};
}

}  // namespace millrace
