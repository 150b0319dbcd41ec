#include "pipeline/model_feed.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/thread_name.h"
#include "codec/model_event.h"
#include "codec/outcome_encoder.h"

namespace millrace {
namespace {

// One poll; events are small and seldom.
constexpr std::size_t kMaxEvents = 1024;
constexpr std::size_t kMaxEventBytes = 1 << 20;
// How long the thread waits for events before it looks at the statuses.
constexpr Millis kPollWait{200};
constexpr Millis kPause{250};
// Between two looks for a topic that was not there.
constexpr Millis kLookForTopic{10'000};
// A status that cannot be written by then waits for the next attempt.
constexpr Millis kWritePatience{5'000};

}  // namespace

ModelFeed::ModelFeed(Log& log, const TopicOptions& topics, std::string worker,
                     ModelProgress& progress, OnEvent on_event, OnTold on_told)
    : log_(log),
      topics_(topics),
      worker_(std::move(worker)),
      progress_(progress),
      on_event_(std::move(on_event)),
      on_told_(std::move(on_told)) {}

// kNotFound: the log has no such topic.
Status ModelFeed::Open() {
  const Result<std::vector<TopicInfo>> found = log_.DescribeTopics({topics_.events});
  if (!found.ok()) return found.status();
  if (found->empty()) {
    return {StatusCode::kNotFound, "the log has no topic '" + topics_.events + "'"};
  }
  Result<std::unique_ptr<Reader>> reader = log_.NewReader(ReadPace::kFollow);
  if (!reader.ok()) return reader.status();
  std::vector<Reader::Start> starts;
  ends_.clear();
  for (const PartitionInfo& partition : found->front().partitions) {
    starts.push_back({{topics_.events, partition.partition}, partition.start});
    ends_.push_back(partition.end);
  }
  MILLRACE_RETURN_IF_ERROR((*reader)->Assign(starts));
  const std::lock_guard lock(mutex_);
  reader_ = std::move(reader).value();
  return {};
}

std::int64_t ModelFeed::Position() const {
  std::int64_t position = 0;
  for (std::size_t i = 0; i < ends_.size(); ++i) {
    position += reader_->Position(PartitionSlot(static_cast<PartitionSlot::rep>(i))).value();
  }
  return position;
}

bool ModelFeed::AtEnd() const {
  for (std::size_t i = 0; i < ends_.size(); ++i) {
    const PartitionSlot slot(static_cast<PartitionSlot::rep>(i));
    if (reader_->Position(slot) < ends_[i]) return false;
  }
  return true;
}

Status ModelFeed::ReadSome(Millis max_wait) {
  const PollLimits limits{kMaxEvents, kMaxEventBytes, max_wait};
  MILLRACE_RETURN_IF_ERROR(reader_->Poll(limits, &batch_));
  const std::int64_t position = Position();
  if (position == progress_.seen.load()) return {};
  progress_.seen.store(position);  // Before anything serves that comes from these events.
  for (const Record& record : batch_.records) {
    const Result<ModelEvent> event = DecodeModelEvent(record);
    if (event.ok()) {
      on_event_(*event);
      continue;
    }
    LogEvent(LogLevel::kWarn, "model_event_invalid", "a model event was passed over",
             {{"topic", topics_.events},
              {"partition_slot", record.slot.value()},
              {"offset", record.offset.value()},
              {"error", event.status()}});
  }
  on_told_();
  return {};
}

Status ModelFeed::CatchUp(MonoTime deadline, const std::atomic<bool>& cancelled) {
  const Clock& clock = SystemClock();
  while (!cancelled.load()) {
    Status status = reader_ == nullptr ? Open() : Status();
    if (status.code() == StatusCode::kNotFound) {
      LogEvent(LogLevel::kInfo, "no_model_events", "models are not led by events",
               {{"reason", status}});
      return {};
    }
    if (status.ok() && AtEnd()) return {};
    if (status.ok()) status = ReadSome(kPollWait);
    if (clock.Now() > deadline) {
      return {StatusCode::kUnavailable,
              "the model events in '" + topics_.events + "' could not be read in time" +
                  (status.ok() ? "" : ": " + std::string(status.message()))};
    }
    if (status.ok()) continue;
    if (status.code() != StatusCode::kUnavailable) return status;
    LogEvery(away_, LogLevel::kWarn, "model_events_unavailable", "waiting for the log",
             {{"error", status}});
    std::this_thread::sleep_for(kPause);
  }
  return {StatusCode::kCancelled, "stopped while reading the model events"};
}

void ModelFeed::Start() {
  MILLRACE_CHECK(!thread_.joinable());
  thread_ = std::thread([this] {
    SetThreadName("mr-events");
    Run();
  });
}

void ModelFeed::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
    if (reader_ != nullptr) reader_->Wake();
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void ModelFeed::Run() {
  MonoTime look_again{};
  while (true) {
    Millis pause{0};
    Status status;
    if (reader_ == nullptr) {
      pause = kPollWait;
      if (const MonoTime now = SystemClock().Now(); now >= look_again) {
        status = Open();
        look_again = now + kLookForTopic;
        if (status.code() == StatusCode::kNotFound) status = {};
      }
    } else {
      status = ReadSome(kPollWait);
    }
    if (!status.ok()) {
      pause = kPause;
      LogEvery(away_, LogLevel::kWarn, "model_events_unavailable",
               "model events cannot be read; trying again until they can", {{"error", status}});
    }
    status = WriteStatuses();
    if (!status.ok()) {
      LogEvery(unwritten_, LogLevel::kWarn, "model_status_unwritten",
               "the models' states cannot be written; trying again until they can",
               {{"topic", topics_.status}, {"error", status}});
    }
    std::unique_lock lock(mutex_);
    if (stop_ || changed_.wait_for(lock, pause, [this] { return stop_; })) break;
  }
  Leave();
}

void ModelFeed::Tell(ModelStatus status) {
  status.worker = worker_;
  char at[kRfc3339MillisBytes];
  FormatRfc3339Millis(SystemClock().WallNow(), at);
  status.at.assign(at, sizeof at);
  const std::lock_guard lock(mutex_);
  std::string model_id = status.model_id;
  unsent_.insert_or_assign(std::move(model_id), std::move(status));
  if (reader_ != nullptr) reader_->Wake();
}

// Leaves the producer null while there is no topic: a broker might make one that is not compacted.
Status ModelFeed::OpenStatus() {
  const MonoTime now = SystemClock().Now();
  if (now < look_for_status_) return {};
  look_for_status_ = now + kLookForTopic;
  const Result<std::vector<TopicInfo>> found = log_.DescribeTopics({topics_.status});
  if (!found.ok()) return found.status();
  if (found->empty()) {
    LogEvery(unwritten_, LogLevel::kInfo, "no_model_status",
             "the log has no topic for the models' states: they are in the metrics only; create it "
             "with `millrace topics create`",
             {{"topic", topics_.status}});
    return {};
  }
  Result<std::unique_ptr<Producer>> producer = log_.NewProducer(kWritePatience);
  if (!producer.ok()) return producer.status();
  producer_ = std::move(producer).value();
  return {};
}

Status ModelFeed::WriteStatuses() {
  std::map<std::string, ModelStatus> sending;
  {
    const std::lock_guard lock(mutex_);
    sending = unsent_;
  }
  if (sending.empty()) return {};
  if (producer_ == nullptr) MILLRACE_RETURN_IF_ERROR(OpenStatus());
  if (producer_ == nullptr) return {};
  std::vector<std::string> keys;
  std::vector<std::string> values;
  for (const auto& [id, status] : sending) {
    keys.push_back(ModelStatusKey(status));
    values.push_back(EncodeModelStatus(status));
  }
  std::vector<ProducerRecord> records(keys.size());
  for (std::size_t i = 0; i < keys.size(); ++i) {
    records[i].key = keys[i];
    records[i].value = values[i];
  }
  if (Status status = producer_->Append(topics_.status, records); !status.ok()) {
    producer_.reset();  // What it took back may be on its way: the next one begins anew.
    look_for_status_ = {};
    return status;
  }
  const std::lock_guard lock(mutex_);
  for (const auto& [id, status] : sending) {
    told_.insert(id);
    const auto found = unsent_.find(id);
    if (found->second.at == status.at && found->second.state == status.state) unsent_.erase(found);
  }
  return {};
}

// So that nobody takes the states of a worker that has gone for those of one that is there.
void ModelFeed::Leave() {
  std::vector<std::string> keys;
  {
    const std::lock_guard lock(mutex_);
    if (!unsent_.empty() || producer_ == nullptr) return;  // The log does not answer.
    for (const std::string& id : told_) {
      ModelStatus status;
      status.model_id = id;
      status.worker = worker_;
      keys.push_back(ModelStatusKey(status));
    }
  }
  if (keys.empty()) return;
  std::vector<ProducerRecord> records(keys.size());
  for (std::size_t i = 0; i < keys.size(); ++i) {
    records[i].key = keys[i];
    records[i].has_value = false;
  }
  if (const Status status = producer_->Append(topics_.status, records); !status.ok()) {
    LogEvent(LogLevel::kWarn, "model_status_unwritten",
             "the states of a worker that has gone stay in the topic", {{"error", status}});
  }
}

}  // namespace millrace
