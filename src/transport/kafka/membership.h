// Membership: this worker's place in the group, shared by its source and its committer.
// Internal to transport/kafka.
#pragma once

#include <string>

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
};

}  // namespace millrace::kafka
