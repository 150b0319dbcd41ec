#include "transport/local/reader.h"

#include <fmt/format.h>

#include <map>

#include "transport/local/catalog.h"
#include "transport/local/scanner.h"

namespace millrace::local {
namespace {

class LocalReader final : public Reader {
 public:
  explicit LocalReader(const LogContext& context) : context_(context), scanner_(context) {}

  Status Open() { return scanner_.Open(); }

  Status Assign(std::span<const Start> starts) override {
    std::map<std::string, TopicRow> topics;
    std::vector<Scanner::Partition> partitions;
    std::map<std::int64_t, bool> assigned;
    for (const Start& start : starts) {
      const std::string& name = start.partition.topic;
      auto topic = topics.find(name);
      if (topic == topics.end()) {
        auto found = FindTopic(scanner_.connection(), name, context_.dir);
        if (!found.ok()) return found.status();
        topic = topics.emplace(name, std::move(*found)).first;
      }
      const std::int32_t number = start.partition.partition;
      if (number < 0 || number >= topic->second.spec.partitions) {
        return {StatusCode::kInvalidArgument,
                fmt::format("topic '{}' has partitions 0..{}, not {}", name,
                            topic->second.spec.partitions - 1, number)};
      }
      Scanner::Partition& partition = partitions.emplace_back();
      partition.id = topic->second.partition_ids[static_cast<std::size_t>(number)];
      partition.position = start.offset.value();
      if (!assigned.emplace(partition.id, true).second) {
        return {StatusCode::kInvalidArgument,
                fmt::format("partition {} of topic '{}' is assigned twice", number, name)};
      }
    }
    scanner_.Assign(std::move(partitions));
    return {};
  }

  Status Poll(const PollLimits& limits, RecordBatch* batch) override {
    Status status = scanner_.Poll(limits, batch);
    for (Scanner::Partition& partition : scanner_.partitions()) partition.skipped = false;
    return status;
  }

  Offset Position(PartitionSlot slot) const override {
    return Offset(scanner_.partitions().at(slot.index()).position);
  }

  void Wake() override { scanner_.Wake(); }

 private:
  const LogContext& context_;
  Scanner scanner_;
};

}  // namespace

Result<std::unique_ptr<Reader>> NewReader(const LogContext& context) {
  auto reader = std::make_unique<LocalReader>(context);
  MILLRACE_RETURN_IF_ERROR(reader->Open());
  return std::unique_ptr<Reader>(std::move(reader));
}

}  // namespace millrace::local
