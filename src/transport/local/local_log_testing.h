// What the tests of the local log share: folders, records in and out, a listener that notes all.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "transport/local/local_log.h"

namespace millrace::local {

// A folder that is gone afterwards.
class TempDir {
 public:
  TempDir() {
    std::string name = (std::filesystem::temp_directory_path() / "millrace-test-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline std::unique_ptr<Log> OpenLog(const std::string& dir,
                                    LocalDurability durability = LocalDurability::kNormal) {
  LocalLogOptions options;
  options.dir = dir;
  options.durability = durability;
  auto log = OpenLocalLog(options);
  EXPECT_TRUE(log.ok()) << log.status().ToString();
  return log.ok() ? std::move(*log) : nullptr;
}

// A log with the contract's topics at a sixteenth: 4, 2, 1 and 1 partitions.
inline std::unique_ptr<Log> OpenLogWithTopics(const std::string& dir) {
  auto log = OpenLog(dir);
  for (const TopicSpec& spec : ContractTopics({}, 1.0 / 16)) {
    const Status status = log->CreateTopic(spec);
    EXPECT_TRUE(status.ok()) << status.ToString();
  }
  return log;
}

struct Stored {
  std::string key, value, headers;
  std::int32_t partition = 0;
  std::int64_t offset = 0;
  WallMillis timestamp = 0;
  bool has_key = false, has_value = false;
  friend bool operator==(const Stored&, const Stored&) = default;
};

inline Stored Copy(const Record& record) {
  return {std::string(record.key), std::string(record.value), std::string(record.headers.block()),
          record.slot.value(),     record.offset.value(),     record.timestamp,
          record.has_key,          record.has_value};
}

// Everything that `topic` holds, partition after partition.
inline std::vector<Stored> ReadAll(Log& log, const std::string& topic) {
  const auto topics = log.DescribeTopics({});
  EXPECT_TRUE(topics.ok()) << topics.status().ToString();
  std::vector<Reader::Start> starts;
  for (const TopicInfo& info : *topics) {
    if (info.spec.name != topic) continue;
    for (const PartitionInfo& partition : info.partitions) {
      starts.push_back({{topic, partition.partition}, partition.start});
    }
  }
  auto reader = log.NewReader();
  EXPECT_TRUE(reader.ok()) << reader.status().ToString();
  Status status = (*reader)->Assign(starts);
  EXPECT_TRUE(status.ok()) << status.ToString();
  std::map<std::int32_t, std::vector<Stored>> found;
  RecordBatch batch;
  PollLimits limits;
  limits.max_wait = Millis(0);
  do {
    status = (*reader)->Poll(limits, &batch);
    EXPECT_TRUE(status.ok()) << status.ToString();
    for (const Record& record : batch.records) found[record.slot.value()].push_back(Copy(record));
  } while (!batch.records.empty());
  std::vector<Stored> all;
  for (auto& [partition, records] : found) {
    for (Stored& record : records) all.push_back(std::move(record));
  }
  return all;
}

inline ProducerRecord Keyed(std::string_view key, std::string_view value) {
  ProducerRecord record;
  record.key = key;
  record.value = value;
  return record;
}

inline Status AppendOne(Log& log, const std::string& topic, const ProducerRecord& record) {
  auto producer = log.NewProducer();
  if (!producer.ok()) return producer.status();
  return (*producer)->Append(topic, std::span(&record, 1));
}

class NotingListener final : public Source::Listener {
 public:
  void OnAssigned(std::span<const PartitionAssignment> partitions) override {
    assigned.assign(partitions.begin(), partitions.end());
  }
  void OnRevoked(std::span<const PartitionSlot> partitions) override {
    revoked.assign(partitions.begin(), partitions.end());
  }
  void OnLost(std::span<const PartitionSlot>) override { ADD_FAILURE() << "nothing is ever lost"; }
  void OnPositionAdvanced(PartitionSlot slot, Offset position) override {
    advanced[slot.value()] = position.value();
  }

  std::vector<PartitionAssignment> assigned;
  std::vector<PartitionSlot> revoked;
  std::map<std::int32_t, std::int64_t> advanced;
};

// The records of one unit of work, and the unit.
class UnitBuilder {
 public:
  UnitBuilder& Output(OutputTopic topic, std::string_view key, std::string_view value) {
    records_.push_back(std::make_unique<OutputRecord>());
    OutputRecord& record = *records_.back();
    record.chunk = &chunk_;
    record.topic = topic;
    record.key = Span(key);
    record.value = Span(value);
    pointers_.push_back(&record);
    return *this;
  }
  UnitBuilder& Position(std::int32_t slot, std::int64_t next, std::uint32_t epoch = 1,
                        std::int64_t base = 0) {
    positions_.push_back({PartitionSlot(slot), Epoch(epoch), Offset(base), Offset(next)});
    return *this;
  }
  // Borrows from this object.
  UnitOfWork unit() const { return {pointers_, positions_}; }

 private:
  ByteSpan Span(std::string_view bytes) {
    const auto at = static_cast<std::uint32_t>(chunk_.bytes.size());
    chunk_.bytes.Append(bytes);
    return {at, static_cast<std::uint32_t>(bytes.size())};
  }

  OutputChunk chunk_;
  std::vector<std::unique_ptr<OutputRecord>> records_;
  std::vector<const OutputRecord*> pointers_;
  std::vector<PartitionPosition> positions_;
};

}  // namespace millrace::local
