// ModelTarget: what shall serve of one model, as its events say, one after the other.
//
// Pure. The same events give the same target in every worker, whenever it starts. Where the topic
// keeps the last event only, what the event says of the version beside it stands for those that are
// gone.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "types/model_event.h"

namespace millrace {

struct ModelTarget {
  // Versions that served before, which a worker falls back on that cannot load the one that should.
  static constexpr std::size_t kMaxEarlier = 8;
  static constexpr std::size_t kMaxRetired = 64;

  std::optional<VersionSpec> stable;  // Nothing: what the repository has.
  std::optional<VersionSpec> canary;
  double canary_percent = 0;
  std::optional<VersionSpec> shadow;
  bool retired = false;
  // Retired while nothing was promoted: the repository's choice serves unless it is one of these.
  std::vector<std::string> retired_versions;
  std::vector<VersionSpec> earlier;  // The last one last.

  friend bool operator==(const ModelTarget&, const ModelTarget&) = default;
};

void ApplyEvent(const ModelEvent& event, ModelTarget* target);

}  // namespace millrace
