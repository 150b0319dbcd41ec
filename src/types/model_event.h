// Which version of a model shall serve, as operators say it and workers answer: values of the
// records of the model event and model status topics.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace millrace {

// A version, and where it comes from.
struct VersionSpec {
  std::string version;
  std::string uri;     // Of the model file; empty: the worker's own repository has it.
  std::string sha256;  // Of its bytes, lower-case hex; empty: whatever it is.

  friend bool operator==(const VersionSpec&, const VersionSpec&) = default;
};

enum class ModelAction : std::uint8_t {
  kPromote,   // Serves from now on.
  kRollback,  // The same, back to an earlier version.
  kRetire,    // Serves no more; without a version, or with the one that serves, nothing does.
  kShadow,    // Runs beside the one that serves; nobody gets its results for an answer.
  kCanary     // Answers some of the keys.
};
inline constexpr std::size_t kModelActions = 5;
std::string_view ModelActionName(ModelAction action);

struct ModelEvent {
  // Empty: the one model that old deployments' messages, which name none, are for.
  std::string model_id;
  ModelAction action = ModelAction::kPromote;
  VersionSpec version;
  double canary_percent = 0;  // Of the keys, 0 to 100. kCanary.
  // What serves beside a canary or a shadow, and what served before a promotion: the topic keeps
  // one event of each model, so that each says all there is to know.
  std::optional<VersionSpec> stable;
  std::string issued_at;  // RFC 3339.
  std::string issued_by;
};

enum class ModelState : std::uint8_t {
  kDownloading,
  kProbing,
  kWarming,
  kServing,
  kFailed,
  kRetired
};
inline constexpr std::size_t kModelStates = 6;
std::string_view ModelStateName(ModelState state);

// How one worker has got on with one model.
struct ModelStatus {
  std::string model_id;
  std::string version;
  ModelState state = ModelState::kServing;
  std::string detail;   // Why, in one line.
  std::string serving;  // The version that serves all the same; empty: none does.
  std::string sha256;   // Of `version`, once it is known.
  std::string worker;
  std::string at;  // RFC 3339.
};

}  // namespace millrace
