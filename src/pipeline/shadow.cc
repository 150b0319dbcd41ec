#include "pipeline/shadow.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/thread_name.h"
#include "codec/result_difference.h"
#include "runtime/gather.h"

namespace millrace {
namespace {

constexpr int kLowestWeight = 19;
constexpr Millis kWritePatience{2'000};

// What a shadow's result says beyond a result: what it was compared with, and how far it is off.
std::string DifferenceJson(const ShadowRow& row, const Result<ResultDifference>& difference) {
  if (!difference.ok()) return fmt::format(R"(,"shadow_of":"{}"}})", row.version);
  return fmt::format(
      R"(,"shadow_of":"{}","difference":{{"compared":{},"differing":{},"max_absolute":{},)"
      R"("max_relative":{}}}}})",
      row.version, difference->compared, difference->differing, difference->max_absolute,
      difference->max_relative);
}

}  // namespace

Shadow::Shadow(Log& log, const TopicOptions& topics, const CodecLimits& limits, const Clock& clock,
               MetricRegistry& registry)
    : log_(log),
      topics_(topics),
      clock_(clock),
      registry_(registry),
      dropped_(registry.GetCounter("millrace_shadow_dropped_total",
                                   "Requests that a shadow was too slow for.")),
      decoder_(limits),
      encoder_(limits) {}

Shadow::~Shadow() { Stop(); }

void Shadow::Start() {
  thread_ = std::thread([this] {
    SetThreadName("mr-shadow");
    SetThreadNice(kLowestWeight);
    Run();
  });
}

void Shadow::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  work_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Shadow::Set(const std::string& model_id, std::shared_ptr<const ModelToServe> version) {
  const std::lock_guard lock(mutex_);
  if (version == nullptr) {
    wanted_.erase(model_id);
  } else {
    wanted_[model_id] = std::move(version);
  }
  changed_ = true;
  work_.notify_one();
}

void Shadow::Offer(std::vector<ShadowRow> rows) {
  std::size_t dropped = 0;
  {
    const std::lock_guard lock(mutex_);
    for (ShadowRow& row : rows) {
      const std::size_t bytes = row.bytes();
      if (rows_.size() >= kMaxRows || bytes_ + bytes > kMaxBytes) {
        ++dropped;
        continue;
      }
      bytes_ += bytes;
      rows_.push_back(std::move(row));
    }
  }
  if (dropped > 0) dropped_->Add(dropped);
  work_.notify_one();
}

void Shadow::Run() {
  std::unique_lock lock(mutex_);
  while (true) {
    work_.wait(lock, [this] { return stop_ || changed_ || !rows_.empty(); });
    if (stop_) return;
    if (std::exchange(changed_, false)) {
      std::erase_if(versions_, [this](const auto& entry) {
        const auto wanted = wanted_.find(entry.first);
        return wanted == wanted_.end() || wanted->second != entry.second.model;
      });
      for (const auto& [id, model] : wanted_) {
        Version& version = versions_[id];
        if (version.model != nullptr) continue;
        version.model = model;
        const auto counter = [&](const char* name, const char* help) {
          return registry_.GetCounter(name, help,
                                      {{"model", id}, {"version", model->ref().version}});
        };
        version.results = counter("millrace_shadow_results_total", "Results of a shadow.");
        version.failed =
            counter("millrace_shadow_failures_total", "Requests that a shadow failed with.");
        version.differing = counter("millrace_shadow_differing_total",
                                    "Results of a shadow that differ from those given.");
      }
    }
    if (rows_.empty()) continue;
    const std::string model_id = rows_.front().model_id;
    const auto version = versions_.find(model_id);
    std::vector<ShadowRow> batch = TakeBatch();
    lock.unlock();
    if (version != versions_.end()) RunRows(version->second, batch);
    lock.lock();
  }
}

std::vector<ShadowRow> Shadow::TakeBatch() {
  const std::string model_id = rows_.front().model_id;
  const auto version = versions_.find(model_id);
  const std::size_t most =
      version == versions_.end() ? kMaxRows : version->second.model->policy.max_rows;
  std::vector<ShadowRow> batch;
  while (!rows_.empty() && batch.size() < most && rows_.front().model_id == model_id) {
    bytes_ -= rows_.front().bytes();
    batch.push_back(std::move(rows_.front()));
    rows_.pop_front();
  }
  return batch;
}

bool Shadow::Decode(const ModelToServe& model, ShadowRow& row, DecodedRow* decoded) {
  const std::size_t bytes = row.value.size();
  row.value.append(kReadablePadding, '\0');
  decoded->row = &row;
  Record& record = decoded->record;
  record.key = row.key;
  record.has_key = row.has_key;
  record.headers = HeadersView(row.headers);
  record.value = std::string_view(row.value).substr(0, bytes);
  record.has_value = true;
  record.offset = row.offset;
  record.timestamp = row.timestamp;
  const RowLayout& layout = model.row_layout();
  decoded->input.resize(layout.bytes / sizeof(std::uint64_t) + 1);
  auto* const input = reinterpret_cast<std::byte*>(decoded->input.data());
  auto failure = decoder_.Begin(record, scratch_, &decoded->request);
  if (!failure) failure = decoder_.Finish(record, layout, scratch_, &decoded->request, input);
  return !failure.has_value();
}

// One row at a time: what a shadow fails with must not hide its other results, and nobody waits.
Status Shadow::RunOne(Version& version, const DecodedRow& decoded) {
  if (version.runner == nullptr) {
    Result<std::unique_ptr<Runner>> runner = version.model->loaded->session->NewRunner();
    if (!runner.ok()) return runner.status();
    version.runner = std::move(runner).value();
  }
  const auto* const row = reinterpret_cast<const std::byte*>(decoded.input.data());
  MILLRACE_RETURN_IF_ERROR(GatherRows(
      version.model->row_layout(), 1, [row](std::size_t) { return row; }, *version.runner));
  return version.runner->Run(1);
}

void Shadow::RunRows(Version& version, std::vector<ShadowRow>& rows) {
  pending_.clear();
  for (ShadowRow& row : rows) {
    scratch_.Clear();
    chunk_.bytes.Clear();
    DecodedRow decoded;
    if (!Decode(*version.model, row, &decoded) || !RunOne(version, decoded).ok()) {
      version.failed->Add();
      continue;
    }
    Encode(version, decoded);
  }
  if (pending_.empty()) return;
  if (const Status status = Write(); !status.ok()) {
    dropped_->Add(pending_.size());
    LogEvery(unwritten_, LogLevel::kWarn, "shadow_unwritten",
             "results of a shadow cannot be written and are dropped",
             {{"topic", topics_.shadow}, {"error", status}});
  }
}

void Shadow::Encode(Version& version, DecodedRow& decoded) {
  const ShadowRow& row = *decoded.row;
  encoder_.BeginBatch(version.model->ref(), version.runner->Outputs(), 1, clock_.WallNow(),
                      version.model->outputs.get());
  OutputRecord record;
  const RecordOrigin origin{topics_.requests, row.partition, &decoded.record};
  if (encoder_.EncodeRow(decoded.request, origin, 0, Micros(0), chunk_, &record).has_value()) {
    version.failed->Add();
    return;
  }
  const Result<ResultDifference> difference = CompareResults(row.result, record.Value());
  version.results->Add();
  if (difference.ok() && difference->differing > 0) version.differing->Add();
  Pending pending;
  pending.key = record.Key();
  pending.headers = record.Headers().block();
  pending.value = record.Value();
  pending.value.pop_back();  // The brace that closes it.
  pending.value += DifferenceJson(row, difference);
  pending_.push_back(std::move(pending));
}

Status Shadow::Write() {
  if (producer_ == nullptr) {
    const Result<std::vector<TopicInfo>> found = log_.DescribeTopics({topics_.shadow});
    if (!found.ok()) return found.status();
    if (found->empty()) {
      return {StatusCode::kNotFound, "the log has no topic '" + topics_.shadow +
                                         "'; create it with `millrace topics create`"};
    }
    Result<std::unique_ptr<Producer>> producer = log_.NewProducer(kWritePatience);
    if (!producer.ok()) return producer.status();
    producer_ = std::move(producer).value();
  }
  std::vector<ProducerRecord> records(pending_.size());
  for (std::size_t i = 0; i < pending_.size(); ++i) {
    records[i].key = pending_[i].key;
    records[i].value = pending_[i].value;
    records[i].headers = HeadersView(pending_[i].headers);
  }
  Status status = producer_->Append(topics_.shadow, records);
  if (!status.ok()) producer_.reset();
  return status;
}

}  // namespace millrace
