#include "scheduler/options.h"

namespace millrace {

void DescribeSettings(SettingSet& set, BatchOptions& options) {
  set.Integer("batch.max_rows", &options.max_rows, 1, 4096,
              "Rows that close a batch. More rows cost less per request, until the model stops "
              "gaining from them.");
  set.Duration("batch.max_wait", &options.max_wait, Millis(0), Millis(60'000),
               "Longest time that the first row of a batch waits for company; 0 runs each row as "
               "soon as an executor is free.");
  set.Bool("batch.adaptive", &options.adaptive,
           "Send a batch to an idle executor without waiting for more rows, so that waiting only "
           "happens when everyone is busy.");
}

void DescribeSettings(SettingSet& set, FairnessOptions& options) {
  set.Integer(
      "fairness.max_queue_rows", &options.max_queue_rows, 64, 1 << 20,
      "Rows that may wait for all executors together; at the limit the worker stops reading "
      "until some have run.");
}

}  // namespace millrace
