// The output mapping of a loaded model: of its settings, else of its model.yaml.
//
// Pure; any thread.
#pragma once

#include <memory>

#include "base/status.h"
#include "codec/output_mapping.h"
#include "models/options.h"
#include "models/repository.h"

namespace millrace {

// Null when neither has one. models.<id>.outputs replaces the model.yaml's mapping as a whole,
// models.<id>.threshold its threshold alone. Errors: kConfiguration; they say where the mapping
// stands.
Result<std::shared_ptr<const OutputMapping>> BindModelOutputs(const ModelOptions& options,
                                                              const LoadedModel& model);

}  // namespace millrace
