#include "transport/local/producer.h"

#include <fmt/format.h>

#include <map>

#include "base/clock.h"
#include "transport/local/appender.h"
#include "transport/local/catalog.h"
#include "transport/local/writer.h"
#include "transport/partitioner.h"

namespace millrace::local {
namespace {

constexpr int kCacheKib = 4096;

class LocalProducer final : public Producer {
 public:
  explicit LocalProducer(const LogContext& context)
      : context_(context), writer_(context), appender_(writer_) {}
  ~LocalProducer() override { Close(); }

  Status Open() {
    Status status = writer_.Open(context_.durability, kCacheKib);
    if (status.ok()) status = appender_.Open();
    if (!status.ok()) Close();
    return status;
  }

  Status Append(const std::string& topic, std::span<const ProducerRecord> records) override {
    if (!writer_.open()) MILLRACE_RETURN_IF_ERROR(Open());
    auto found = topics_.find(topic);
    if (found == topics_.end()) {
      auto row = FindTopic(writer_.connection(), topic, context_.dir);
      if (!row.ok()) return row.status();
      found = topics_.emplace(topic, Topic{Appender::Target(std::move(*row)), 0}).first;
    }
    MILLRACE_RETURN_IF_ERROR(Check(found->second.target, records));
    while (!records.empty()) {
      const std::size_t count = ChunkSize(records);
      MILLRACE_RETURN_IF_ERROR(AppendChunk(found->second, records.first(count)));
      records = records.subspan(count);
    }
    return {};
  }

 private:
  struct Topic {
    Appender::Target target;
    std::int32_t round_robin;
  };

  // All records are checked before the first is written.
  static Status Check(const Appender::Target& target, std::span<const ProducerRecord> records) {
    for (const ProducerRecord& record : records) {
      const TopicSpec& spec = target.topic().spec;
      if (record.partition && (*record.partition < 0 || *record.partition >= spec.partitions)) {
        return {StatusCode::kInvalidArgument,
                fmt::format("topic '{}' has partitions 0..{}, not {}", spec.name,
                            spec.partitions - 1, *record.partition)};
      }
      if (!record.has_key && spec.cleanup == CleanupPolicy::kCompact) {
        return {StatusCode::kInvalidArgument,
                fmt::format("a record without a key for the compacted topic '{}'", spec.name)};
      }
      if (Bytes(record) > kMaxRecordBytes) {
        return {StatusCode::kInvalidArgument,
                fmt::format("a record of {} bytes for topic '{}': the local log takes up to {}",
                            Bytes(record), spec.name, kMaxRecordBytes)};
      }
    }
    return {};
  }

  static std::size_t Bytes(const ProducerRecord& record) {
    return record.key.size() + record.value.size() + record.headers.block().size();
  }

  static std::size_t ChunkSize(std::span<const ProducerRecord> records) {
    std::size_t count = 0;
    std::size_t bytes = 0;
    while (count < records.size() && count < kMaxAppendRecords) {
      bytes += Bytes(records[count]);
      if (count > 0 && bytes > kMaxAppendBytes) break;
      ++count;
    }
    return count;
  }

  Status AppendChunk(Topic& topic, std::span<const ProducerRecord> records) {
    if (!writer_.open()) MILLRACE_RETURN_IF_ERROR(Open());
    items_.clear();
    const WallMillis now = SystemClock().WallNow();
    const std::int32_t partitions = topic.target.partitions();
    for (const ProducerRecord& record : records) {
      AppendItem& item = items_.emplace_back();
      item.key = record.key;
      item.value = record.value;
      item.headers = record.headers.block();
      item.timestamp = record.timestamp == 0 ? now : record.timestamp;
      item.has_key = record.has_key;
      item.has_value = record.has_value;
      if (record.partition) {
        item.partition = *record.partition;
      } else if (record.has_key) {
        item.partition = PartitionForKey(record.key, partitions);
      } else {
        item.partition = topic.round_robin;
        topic.round_robin = (topic.round_robin + 1) % partitions;
      }
    }
    Status status = writer_.Begin();
    if (status.ok()) {
      appender_.Begin();
      status = appender_.Append(topic.target, items_, 0);
      if (status.ok()) status = appender_.Finish(topic.target);
      if (status.ok()) status = writer_.Commit();
    }
    // A fresh connection after any error: what SQLite keeps after one is not worth knowing.
    if (!status.ok()) Close();
    return status;
  }

  void Close() {
    std::vector<Appender::Target*> targets;
    for (auto& [name, topic] : topics_) targets.push_back(&topic.target);
    writer_.Rollback();
    appender_.Close(targets);
    writer_.Close();
  }

  const LogContext& context_;
  Writer writer_;
  Appender appender_;
  std::map<std::string, Topic> topics_;
  std::vector<AppendItem> items_;  // Scratch of AppendChunk.
};

}  // namespace

Result<std::unique_ptr<Producer>> NewProducer(const LogContext& context) {
  auto producer = std::make_unique<LocalProducer>(context);
  MILLRACE_RETURN_IF_ERROR(producer->Open());
  return std::unique_ptr<Producer>(std::move(producer));
}

}  // namespace millrace::local
