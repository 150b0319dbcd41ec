// ModelBoard: what the model event and model status topics say at this moment.
#pragma once

#include <map>
#include <string>
#include <utility>

#include "base/status.h"
#include "models/model_target.h"
#include "transport/log.h"
#include "types/model_event.h"

namespace millrace {

struct ModelBoard {
  struct Entry {
    ModelTarget target;
    bool has_events = false;
    std::map<std::string, ModelStatus> workers;  // By worker, of those that have not left.
  };
  std::map<std::string, Entry> models;
  bool has_status_topic = true;
};

// Reads both topics to their ends. kNotFound when there is no event topic.
Result<ModelBoard> ReadModelBoard(Log& log, const TopicOptions& topics);

}  // namespace millrace
