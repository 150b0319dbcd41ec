#include "app/model_outputs.h"

#include <string>
#include <utility>
#include <vector>

namespace millrace {

Result<std::shared_ptr<const OutputMapping>> BindModelOutputs(const ModelOptions& options,
                                                              const LoadedModel& model) {
  const ModelVersion& source = model.source;
  const bool is_set = !options.outputs.empty();
  const std::string& text = is_set ? options.outputs : source.outputs;
  if (text.empty()) return std::shared_ptr<const OutputMapping>();
  const std::string where =
      is_set ? "models." + source.model_id + ".outputs"
             : "outputs in the model.yaml of " + source.model_id + ":" + source.version;
  const Result<std::vector<OutputExpression>> fields = ParseOutputMapping(text);
  if (!fields.ok()) return fields.status().WithContext(where);
  Result<OutputMapping> bound =
      BindOutputMapping(*fields, model.session->signature(), source.labels,
                        options.threshold ? options.threshold : source.threshold);
  if (!bound.ok()) return bound.status().WithContext(where);
  return std::make_shared<const OutputMapping>(std::move(bound).value());
}

}  // namespace millrace
