#include "app/demo/demo_outcomes.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "app/log_scan.h"

namespace millrace {
namespace {

// Calls `f` with every record of `topic` that is there now.
template <class F>
Status ForEachRecord(Log& log, const std::string& topic, F f) {
  Result<LogScan> scan = LogScan::Open(log, {{topic, {}, std::nullopt, false}}, /*follow=*/false);
  if (!scan.ok()) return scan.status();
  RecordBatch batch;
  while (!scan->done()) {
    MILLRACE_RETURN_IF_ERROR(scan->Poll(&batch));
    for (const Record& record : batch.records) f(record);
  }
  return Status::Ok();
}

// The class a result names: its label, or the index of its largest probability.
int PredictedClass(const nlohmann::json& result) {
  if (const auto outputs = result.find("outputs"); outputs != result.end()) {
    const auto& label = outputs->at("label");
    return label.is_array() ? label.at(0).get<int>() : label.get<int>();
  }
  const auto scores = result.at("output").get<std::vector<double>>();
  return static_cast<int>(std::max_element(scores.begin(), scores.end()) - scores.begin());
}

void Score(const Record& record, const DemoLoad& load, DemoOutcomes* outcomes) {
  const nlohmann::json result = nlohmann::json::parse(record.value, nullptr, false);
  ++outcomes->results;
  if (!result.is_object()) return;
  const auto index = DemoLoad::IndexOf(result.value("request_id", ""));
  if (!index.has_value()) return;
  const DemoRequest request = load.Describe(*index);
  ModelScore& score = outcomes->models[request.model];
  ++score.answered;
  if (PredictedClass(result) == load.Label(request)) ++score.correct;
}

}  // namespace

Result<DemoOutcomes> ReadOutcomes(Log& log, const TopicOptions& topics, const DemoLoad& load) {
  DemoOutcomes outcomes;
  outcomes.models.resize(load.models().size());
  MILLRACE_RETURN_IF_ERROR(ForEachRecord(
      log, topics.results, [&](const Record& record) { Score(record, load, &outcomes); }));
  MILLRACE_RETURN_IF_ERROR(ForEachRecord(log, topics.dlq, [&](const Record& record) {
    const std::string reason(record.headers.Find("reason").value_or("?"));
    DeadLetterGroup& group = outcomes.dead_letters[reason];
    if (group.count++ == 0) group.example = record.headers.Find("detail").value_or("");
  }));
  return outcomes;
}

}  // namespace millrace
