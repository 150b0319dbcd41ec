// DemoOutcomes: reads back what the worker wrote and holds it against the truth.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "app/demo/demo_load.h"
#include "base/status.h"
#include "transport/log.h"
#include "transport/options.h"

namespace millrace {

struct ModelScore {
  std::int64_t answered = 0;
  std::int64_t correct = 0;
  double accuracy() const {
    return answered == 0 ? 0 : static_cast<double>(correct) / static_cast<double>(answered);
  }
};

struct DeadLetterGroup {
  std::int64_t count = 0;
  std::string example;  // Detail of the first one.
};

struct DemoOutcomes {
  std::vector<ModelScore> models;                       // As DemoLoad::models().
  std::map<std::string, DeadLetterGroup> dead_letters;  // By reason.
  std::int64_t results = 0;
};

// Reads all of the results and dead letters. Any thread; reads only.
Result<DemoOutcomes> ReadOutcomes(Log& log, const TopicOptions& topics, const DemoLoad& load);

}  // namespace millrace
