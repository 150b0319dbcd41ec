#include "app/log_scan.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>
#include <utility>

namespace millrace {
namespace {

constexpr PollLimits kLimits = {.max_records = 4096, .max_bytes = 8 << 20, .max_wait = Millis(100)};

Status MissingTopic(const std::string& name) {
  return {StatusCode::kNotFound,
          fmt::format("topic {} does not exist in this log: make it with `millrace topics create`, "
                      "or name the topics with topics.*",
                      name)};
}

const TopicInfo* FindTopic(const std::vector<TopicInfo>& topics, const std::string& name) {
  const auto it = std::find_if(topics.begin(), topics.end(),
                               [&](const TopicInfo& t) { return t.spec.name == name; });
  return it == topics.end() ? nullptr : &*it;
}

}  // namespace

Result<LogScan> LogScan::Open(Log& log, const std::vector<Wanted>& wanted, bool follow) {
  std::vector<std::string> names;
  for (const Wanted& want : wanted) names.push_back(want.topic);
  const auto topics = log.DescribeTopics(names);
  if (!topics.ok()) return topics.status();
  LogScan scan;
  scan.follow_ = follow;
  for (const Wanted& want : wanted) {
    const TopicInfo* const topic = FindTopic(*topics, want.topic);
    if (topic == nullptr) return MissingTopic(want.topic);
    const std::size_t before = scan.parts_.size();
    for (const PartitionInfo& info : topic->partitions) {
      if (!want.partitions.empty() && std::find(want.partitions.begin(), want.partitions.end(),
                                                info.partition) == want.partitions.end()) {
        continue;
      }
      const Offset from = want.from_end ? info.end : want.from.value_or(info.start);
      scan.parts_.push_back({want.topic, info.partition, from, info.end});
    }
    if (!want.partitions.empty() && scan.parts_.size() - before < want.partitions.size()) {
      return Status(StatusCode::kInvalidArgument,
                    fmt::format("topic {} has partitions 0..{} only", want.topic,
                                static_cast<int>(topic->partitions.size()) - 1));
    }
  }
  auto reader = log.NewReader();
  if (!reader.ok()) return reader.status();
  scan.reader_ = std::move(reader).value();
  std::vector<Reader::Start> starts;
  for (const Part& part : scan.parts_) starts.push_back({{part.topic, part.partition}, part.next});
  MILLRACE_RETURN_IF_ERROR(scan.reader_->Assign(starts));
  return scan;
}

Status LogScan::Poll(RecordBatch* batch) {
  MILLRACE_RETURN_IF_ERROR(reader_->Poll(kLimits, batch));
  if (!follow_) {
    std::erase_if(batch->records,
                  [this](const Record& record) { return record.offset >= part(record).end; });
  }
  return Status::Ok();
}

bool LogScan::done() const {
  if (follow_) return false;
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    if (reader_->Position(PartitionSlot(static_cast<std::int32_t>(i))) < parts_[i].end)
      return false;
  }
  return true;
}

std::map<std::int32_t, Offset> LogScan::Ends() const {
  std::map<std::int32_t, Offset> ends;
  for (const Part& part : parts_) ends[part.partition] = part.end;
  return ends;
}

Result<std::map<std::int32_t, Offset>> CommittedPositions(Log& log, const std::string& group,
                                                          const std::string& topic) {
  constexpr Millis kPause{50};
  constexpr Millis kPatience{5'000};
  const MonoTime deadline = SystemClock().Now() + kPatience;
  while (true) {
    const auto committed = log.CommittedOffsets(group, topic);
    if (committed.status().code() != StatusCode::kUnavailable || SystemClock().Now() > deadline) {
      if (!committed.ok()) return committed.status();
      std::map<std::int32_t, Offset> positions;
      for (const auto& [partition, at] : *committed) positions[partition] = at.position;
      return positions;
    }
    std::this_thread::sleep_for(kPause);
  }
}

Result<std::int32_t> PartitionCount(Log& log, const std::string& topic) {
  const auto topics = log.DescribeTopics({topic});
  if (!topics.ok()) return topics.status();
  const TopicInfo* const found = FindTopic(*topics, topic);
  if (found == nullptr) return MissingTopic(topic);
  return static_cast<std::int32_t>(found->partitions.size());
}

}  // namespace millrace
