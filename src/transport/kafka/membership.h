// Membership: this worker's place in the group, shared by its source and its committer.
// Internal to transport/kafka.
#pragma once

#include <span>
#include <string>

#include "transport/committer.h"
#include "transport/kafka/assignment.h"
#include "transport/kafka/client_events.h"
#include "transport/kafka/handles.h"

namespace millrace::kafka {

struct Membership {
  std::string group;
  std::string requests;  // The topic.
  Assignment assignment;
  ClientEvents events{"consumer"};
  ClientPtr client;  // The source's; the committer asks it for the group's metadata and offsets.
  // A claim is under way: the client closes only once it has its answer. The intake thread's.
  bool claiming = false;
};

// The positions with their notes, as the client wants them.
inline PartitionListPtr PositionList(const std::string& topic,
                                     std::span<const PartitionPosition> positions) {
  PartitionListPtr list = NewPartitionList(positions.size());
  for (const PartitionPosition& position : positions) {
    rd_kafka_topic_partition_t* const element =
        rd_kafka_topic_partition_list_add(list.get(), topic.c_str(), position.slot.value());
    element->offset = position.next.value();
    SetNote(position.note, element);
  }
  return list;
}

}  // namespace millrace::kafka
