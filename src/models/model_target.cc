#include "models/model_target.h"

#include <utility>

namespace millrace {
namespace {

// Makes `version` the one that serves, and remembers the one that did.
void MakeStable(const VersionSpec& version, ModelTarget* target) {
  if (target->stable.has_value() && *target->stable != version) {
    std::erase(target->earlier, *target->stable);
    target->earlier.push_back(*target->stable);
    if (target->earlier.size() > ModelTarget::kMaxEarlier) {
      target->earlier.erase(target->earlier.begin());
    }
  }
  std::erase(target->earlier, version);
  target->stable = version;
}

bool Is(const std::optional<VersionSpec>& spec, const std::string& version) {
  return spec.has_value() && spec->version == version;
}

void Retire(const std::string& version, ModelTarget* target) {
  if (!version.empty() && !Is(target->stable, version)) {
    if (Is(target->canary, version)) target->canary.reset();
    if (Is(target->shadow, version)) target->shadow.reset();
    std::erase_if(target->earlier,
                  [&version](const VersionSpec& spec) { return spec.version == version; });
    if (!target->stable.has_value()) {
      std::vector<std::string>& retired = target->retired_versions;
      std::erase(retired, version);
      retired.push_back(version);
      if (retired.size() > ModelTarget::kMaxRetired) retired.erase(retired.begin());
    }
    return;
  }
  *target = ModelTarget();
  target->retired = true;
}

}  // namespace

void ApplyEvent(const ModelEvent& event, ModelTarget* target) {
  // What the topic has forgotten, or never knew: the version that the repository chose.
  if (event.stable.has_value() && !target->stable.has_value()) MakeStable(*event.stable, target);
  if (event.action == ModelAction::kRetire) return Retire(event.version.version, target);
  target->retired = false;
  std::erase(target->retired_versions, event.version.version);
  switch (event.action) {
    case ModelAction::kPromote:
    case ModelAction::kRollback:
      MakeStable(event.version, target);
      target->canary.reset();
      if (Is(target->shadow, event.version.version)) target->shadow.reset();
      break;
    case ModelAction::kCanary:
      target->canary.reset();
      if (event.canary_percent > 0) {
        target->canary = event.version;
        target->canary_percent = event.canary_percent;
      }
      break;
    case ModelAction::kShadow:
      target->shadow = event.version;
      break;
    case ModelAction::kRetire:
      break;
  }
}

}  // namespace millrace
