#include "app/demo/demo_outcomes.h"

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>

namespace millrace {
namespace {

// Calls `f` with every record of `topic` that is there now.
Status ForEachRecord(Log& log, const std::string& topic,
                     const std::function<void(const Record&)>& f) {
  Result<std::vector<TopicInfo>> topics = log.DescribeTopics();
  if (!topics.ok()) return topics.status();
  std::vector<Reader::Start> starts;
  std::int64_t remaining = 0;
  for (const TopicInfo& info : *topics) {
    if (info.spec.name != topic) continue;
    for (const PartitionInfo& partition : info.partitions) {
      starts.push_back({{topic, partition.partition}, partition.start});
      remaining += partition.end.value() - partition.start.value();
    }
  }
  Result<std::unique_ptr<Reader>> reader = log.NewReader();
  if (!reader.ok()) return reader.status();
  MILLRACE_RETURN_IF_ERROR((*reader)->Assign(starts));
  RecordBatch batch;
  while (remaining > 0) {
    MILLRACE_RETURN_IF_ERROR((*reader)->Poll(PollLimits{}, &batch));
    if (batch.records.empty()) break;
    for (const Record& record : batch.records) f(record);
    remaining -= static_cast<std::int64_t>(batch.records.size());
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
