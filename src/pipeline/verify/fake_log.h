// FakeLog: a log in memory, for tests of what reads and writes logs. Topics, records, offsets;
// no workers, no durability, no threads. Records are appended with their offsets dense.
#pragma once

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "transport/log.h"
#include "transport/partitioner.h"

namespace millrace {

class FakeLog final : public Log {
 public:
  struct Stored {
    std::string key, value, headers;
    std::int64_t offset = 0;
    bool has_key = true;
    bool has_value = true;
  };
  struct Partition {
    std::deque<Stored> records;
    std::int64_t start = 0;
    std::int64_t end = 0;
  };
  struct Topic {
    TopicSpec spec;
    std::vector<Partition> partitions;
  };

  std::map<std::string, Topic> topics;
  std::map<std::string, std::map<std::string, std::map<std::int32_t, Offset>>> committed;
  // Beside the committed positions, whichever group's; by topic and partition.
  std::map<std::pair<std::string, std::int32_t>, std::string> notes;
  std::vector<OpenTransaction> open_transactions;
  int busy_answers = 0;  // So many CommittedOffsets are not answered yet.
  // Called at the start of the n-th look at the log (CommittedOffsets, DescribeTopics), from 1.
  std::function<void(int look)> on_look;
  // Called at the start of the n-th look at open transactions, from 1.
  std::function<void(int look)> on_open_look;

  Status CreateTopic(const TopicSpec& spec) override {
    if (topics.contains(spec.name)) return {StatusCode::kAlreadyExists, spec.name + " exists"};
    topics[spec.name] = {spec, std::vector<Partition>(static_cast<std::size_t>(spec.partitions))};
    return Status::Ok();
  }

  Result<std::vector<TopicInfo>> DescribeTopics(const std::vector<std::string>&) override {
    Look();
    std::vector<TopicInfo> infos;
    for (const auto& [name, topic] : topics) {
      TopicInfo info{.spec = topic.spec, .partitions = {}};
      for (std::size_t p = 0; p < topic.partitions.size(); ++p) {
        info.partitions.push_back({static_cast<std::int32_t>(p), Offset(topic.partitions[p].start),
                                   Offset(topic.partitions[p].end)});
      }
      infos.push_back(std::move(info));
    }
    return infos;
  }

  Result<std::map<std::int32_t, CommittedPosition>> CommittedOffsets(
      const std::string& group, const std::string& topic) override {
    Look();
    if (busy_answers > 0) {
      --busy_answers;
      return Status(StatusCode::kUnavailable, "a commit is under way");
    }
    std::map<std::int32_t, CommittedPosition> positions;
    for (const auto& [partition, at] : committed[group][topic]) {
      positions[partition] = {at, notes[{topic, partition}]};
    }
    return positions;
  }

  Result<std::vector<std::string>> Groups() override {
    std::vector<std::string> names;
    for (const auto& [name, offsets] : committed) {
      if (!offsets.empty()) names.push_back(name);
    }
    return names;
  }

  using Log::NewProducer;
  Result<std::unique_ptr<Producer>> NewProducer(Millis) override {
    return std::unique_ptr<Producer>(std::make_unique<FakeProducer>(this));
  }
  Result<std::unique_ptr<Reader>> NewReader(ReadPace) override {
    return std::unique_ptr<Reader>(std::make_unique<FakeReader>(this));
  }
  Result<std::vector<OpenTransaction>> OpenTransactions(const std::vector<std::string>&) override {
    if (on_open_look) on_open_look(++open_looks_);
    return open_transactions;
  }
  Result<WorkerLog> OpenWorker(const WorkerLogOptions&) override {
    return Status(StatusCode::kUnsupported, "a fake log runs no worker");
  }

  // Appends one record and returns where it went.
  std::pair<std::int32_t, std::int64_t> Append(const std::string& topic, std::string key,
                                               std::string value, std::string headers = {},
                                               bool has_key = true) {
    auto& partitions = topics.at(topic).partitions;
    const std::int32_t at =
        has_key ? PartitionForKey(key, static_cast<std::int32_t>(partitions.size())) : 0;
    Partition& partition = partitions[static_cast<std::size_t>(at)];
    partition.records.push_back({.key = std::move(key),
                                 .value = std::move(value),
                                 .headers = std::move(headers),
                                 .offset = partition.end,
                                 .has_key = has_key});
    return {at, partition.end++};
  }

 private:
  class FakeProducer final : public Producer {
   public:
    explicit FakeProducer(FakeLog* log) : log_(log) {}
    Status Append(const std::string& topic, std::span<const ProducerRecord> records) override {
      if (!log_->topics.contains(topic)) return {StatusCode::kNotFound, topic};
      for (const ProducerRecord& r : records) {
        log_->Append(topic, std::string(r.key), std::string(r.value),
                     std::string(r.headers.block()), r.has_key);
      }
      return Status::Ok();
    }

   private:
    FakeLog* log_;
  };

  class FakeReader final : public Reader {
   public:
    explicit FakeReader(FakeLog* log) : log_(log) {}
    Status Assign(std::span<const Start> starts) override {
      starts_.assign(starts.begin(), starts.end());
      return Status::Ok();
    }
    Status Poll(const PollLimits& limits, RecordBatch* batch) override {
      batch->Clear();
      std::vector<std::pair<std::size_t, const Stored*>> found;
      for (std::size_t slot = 0; slot < starts_.size(); ++slot) {
        const TopicPartition& tp = starts_[slot].partition;
        const Partition& partition =
            log_->topics.at(tp.topic).partitions[static_cast<std::size_t>(tp.partition)];
        for (const Stored& stored : partition.records) {
          if (found.size() >= limits.max_records) break;
          if (stored.offset < starts_[slot].offset.value()) continue;
          found.emplace_back(slot, &stored);
          starts_[slot].offset = Offset(stored.offset + 1);
        }
        if (found.size() < limits.max_records) {
          starts_[slot].offset = std::max(starts_[slot].offset, Offset(partition.end));
        }
      }
      std::size_t bytes = 0;
      for (const auto& [slot, stored] : found) {
        bytes +=
            stored->key.size() + stored->value.size() + stored->headers.size() + kReadablePadding;
      }
      batch->bytes.Claim(bytes);
      for (const auto& [slot, stored] : found) Copy(slot, *stored, batch);
      return Status::Ok();
    }
    Offset Position(PartitionSlot slot) const override { return starts_[slot.index()].offset; }
    void Wake() override {}

   private:
    static void Copy(std::size_t slot, const Stored& stored, RecordBatch* batch) {
      const auto keep = [batch](std::string_view text) {
        const std::size_t at = batch->bytes.size();
        batch->bytes.Append(text);
        return batch->bytes.view(at, text.size());
      };
      Record record;
      record.slot = PartitionSlot(static_cast<std::int32_t>(slot));
      record.offset = Offset(stored.offset);
      record.key = keep(stored.key);
      record.headers = HeadersView(keep(stored.headers));
      record.value = keep(stored.value);
      record.has_key = stored.has_key;
      record.has_value = stored.has_value;
      batch->bytes.Commit(kReadablePadding);
      batch->records.push_back(record);
    }

    FakeLog* log_;
    std::vector<Start> starts_;
  };

  void Look() {
    if (on_look) on_look(++looks_);
  }

  int looks_ = 0;
  int open_looks_ = 0;
};

}  // namespace millrace
