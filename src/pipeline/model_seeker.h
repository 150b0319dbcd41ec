// ModelSeeker: whom the intake tells that requests wait for a model that is not there, and asks how
// far the models are.
#pragma once

#include <string_view>

#include "base/clock.h"
#include "pipeline/model_progress.h"

namespace millrace {

class ModelSeeker {
 public:
  virtual ~ModelSeeker() = default;
  // Requests of this model wait until `until`. Called for each of them; must not block. Any thread.
  virtual void Want(std::string_view model_id, MonoTime until) = 0;
  virtual const ModelProgress& progress() const = 0;
};

}  // namespace millrace
