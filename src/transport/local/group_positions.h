// GroupPositions: where a worker's group stands, read and moved inside an open transaction.
//
// Prepared on the connection of one Writer and used by its thread. Internal to transport/local.
#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "base/status.h"
#include "transport/committer.h"
#include "transport/local/connection.h"
#include "transport/local/membership.h"
#include "transport/local/writer.h"

namespace millrace::local {

class GroupPositions {
 public:
  // `writer` must outlive it.
  GroupPositions(Writer& writer, std::shared_ptr<const Membership> membership)
      : writer_(writer), membership_(std::move(membership)) {}

  // Once the writer is open; Close before it closes.
  Status Open();
  void Close();

  // kLost, with the partitions, when work of another epoch is among them.
  CommitResult CheckEpochs(std::span<const PartitionPosition> positions) const;

  // --- Between Begin and Commit of the writer ---
  // kFenced when another worker has taken this one's place.
  Status CheckGeneration();
  // Moves the positions from base to next and replaces their notes. `*moved_before`: an earlier
  // attempt at the same did it, and nothing was changed. Only this worker moves them, so they stand
  // at base or, after such an attempt, all of them at next; anything else is kInternal.
  Status Move(std::span<const PartitionPosition> positions, bool* moved_before);
  // Moves the positions up to next, wherever below they stand. kInternal when one stands above.
  Status Raise(std::span<const PartitionPosition> positions);

 private:
  // Sets what stands at or below `from`. `*changed`: whether that changed anything; when not, it
  // stands there already.
  Status MoveOne(const PartitionPosition& position, Offset from, bool* changed);
  Status Read(std::size_t partition, std::string_view note, std::int64_t* position,
              bool* same_note);

  Writer& writer_;
  const std::shared_ptr<const Membership> membership_;
  Statement generation_, move_, stored_;
};

}  // namespace millrace::local
