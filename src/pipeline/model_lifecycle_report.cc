// What ModelLifecycle tells of its models: states, outcomes of changes.
#include <fmt/format.h>

#include <string>
#include <utility>

#include "pipeline/model_lifecycle.h"
#include "telemetry/log.h"

namespace millrace {

void ModelLifecycle::TellState(const std::string& model_id, Model& model, const VersionSpec& spec,
                               ModelState state, const std::string& detail) {
  ModelStatus status;
  status.model_id = model_id;
  status.version = spec.version;
  status.state = state;
  status.detail = detail;
  status.sha256 = spec.sha256;
  if (model.stable != nullptr) status.serving = model.stable->ref.version;
  model.told = status;
  if (serving_ != nullptr && !spec.version.empty()) {
    serving_->probe().OnModelState(model_id, spec.version, state);
  }
  feed_.Tell(std::move(status));
}

void ModelLifecycle::TellOutcome(const std::string& model_id, Model& model,
                                 const ModelTarget& target) {
  const auto failure = [&model](const std::optional<VersionSpec>& spec) -> const Status* {
    const Failed* const failed = spec.has_value() ? FailureOf(model, *spec) : nullptr;
    return failed == nullptr ? nullptr : &failed->status;
  };
  const auto spec_of = [](const Lane& lane) {
    return VersionSpec{lane.ref.version, lane.spec.uri, lane.ref.sha256};
  };
  if (serving_ != nullptr && model.stable != nullptr) {
    serving_->probe().OnModelState(model_id, model.stable->ref.version, ModelState::kServing);
  }
  if (const Status* const why = failure(target.stable); why != nullptr) {
    std::string detail(why->message());
    if (model.stable != nullptr) {
      detail += fmt::format("; version {} serves on", model.stable->ref.version);
    }
    TellState(model_id, model, *target.stable, ModelState::kFailed, detail);
  } else if (const Status* const canary = failure(target.canary); canary != nullptr) {
    TellState(model_id, model, *target.canary, ModelState::kFailed,
              "canary: " + std::string(canary->message()));
  } else if (const Status* const shadow = failure(target.shadow); shadow != nullptr) {
    TellState(model_id, model, *target.shadow, ModelState::kFailed,
              "shadow: " + std::string(shadow->message()));
  } else if (model.stable != nullptr) {
    std::string detail;
    if (model.canary != nullptr) {
      detail = fmt::format("canary version {} answers {:g} % of the keys",
                           model.canary->ref.version, target.canary_percent);
    }
    if (model.shadow.has_value()) {
      detail +=
          fmt::format("{}version {} shadows it", detail.empty() ? "" : "; ", model.shadow->version);
    }
    TellState(model_id, model, spec_of(*model.stable), ModelState::kServing, detail);
    LogEvent(LogLevel::kInfo, "model_serving", "the version serves",
             {{"model", model_id}, {"version", model.stable->ref.version}, {"detail", detail}});
  } else if (!model.failed.empty()) {
    const auto& [spec, last] = model.failed.back();
    TellState(model_id, model, spec, ModelState::kFailed, std::string(last.status.message()));
  } else if (!model.asleep) {
    TellState(model_id, model, VersionSpec(), ModelState::kRetired, "no version serves");
  }
}

}  // namespace millrace
