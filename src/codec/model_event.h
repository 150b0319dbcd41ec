// Records of the model event topic and of the model status topic, as the contract has them.
//
//   model.events   key model_id, {"model_id", "version", "action", "uri", "sha256",
//   "canary_percent"?,
//                  "stable"?: {"version", "uri", "sha256"}, "issued_at", "issued_by"?}; a tombstone
//                  retires the model. Old deployments send {"model_path": "..."}, without a key.
//   model.status   key model_id|worker, {"model_id", "version", "state", "detail", "serving",
//                  "sha256", "worker", "at"}; a tombstone says that the worker has left.
//
// Unknown fields are ignored. Not for the data plane.
#pragma once

#include <string>

#include "base/status.h"
#include "types/model_event.h"
#include "types/record.h"

namespace millrace {

// kInvalidArgument says what is wrong with the record, not where it stood.
Result<ModelEvent> DecodeModelEvent(const Record& record);
// The value; the key is the model's id.
std::string EncodeModelEvent(const ModelEvent& event);

Result<ModelStatus> DecodeModelStatus(const Record& record);
std::string EncodeModelStatus(const ModelStatus& status);
std::string ModelStatusKey(const ModelStatus& status);

}  // namespace millrace
