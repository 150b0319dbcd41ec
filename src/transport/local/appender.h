// Appender: appends records to the partitions of topics, inside a Writer's transaction.
//
// One per Writer, used by its thread. Keeps a prepared statement for each partition it has written
// to; the offsets are read anew in each transaction, since others append too. Internal to
// transport/local.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/status.h"
#include "transport/local/catalog.h"
#include "transport/local/connection.h"
#include "transport/local/pending_rows.h"
#include "transport/local/writer.h"

namespace millrace::local {

class Appender {
 public:
  // A topic that this Appender writes to; owned by the caller.
  class Target {
   public:
    explicit Target(TopicRow topic);
    const TopicRow& topic() const { return topic_; }
    std::int32_t partitions() const { return topic_.spec.partitions; }

   private:
    friend class Appender;
    struct Partition {
      std::int64_t id = 0;
      std::int64_t next = 0;  // Valid when dirty.
      bool dirty = false;     // Appended to in this transaction.
      Statement insert;
    };
    TopicRow topic_;
    std::vector<Partition> partitions_;
  };

  explicit Appender(Writer& writer) : writer_(writer) {}

  // Prepares what every transaction needs. After each Writer::Open.
  Status Open();
  // Forgets every statement, before the Writer closes its connection.
  void Close(std::span<Target* const> targets);

  // Appends `items` in their order within each partition. `total` is how many this transaction
  // appends in all, for the crash point in the middle of them; 0: it has none, as the records that
  // a worker writes besides its units. REQUIRES: in a transaction; each item's partition is in
  // range. kInvalidArgument: a record over kMaxRecordBytes.
  Status Append(Target& target, std::span<const AppendItem> items, std::size_t total);
  // Writes the new ends of what was appended to `target`. Once per transaction, after its appends.
  Status Finish(Target& target);
  // To be called first in each transaction.
  void Begin() { appended_ = 0; }
  // After a rollback: the offsets given out are free again.
  static void Forget(Target& target);

 private:
  Status ReadNext(Target::Partition& partition);
  Status AppendRun(Target::Partition& partition, std::span<const AppendItem> items,
                   std::span<const std::uint32_t> order);
  void SortByPartition(const Target& target, std::span<const AppendItem> items);

  Writer& writer_;
  PendingRows pending_;
  Statement read_next_, write_next_;
  std::size_t appended_ = 0;  // In this transaction.

  // Scratch of Append, kept between calls: the items of partition p are
  // order_[starts_[p] .. starts_[p + 1]).
  std::vector<std::uint32_t> order_, starts_;
};

}  // namespace millrace::local
