// ModelAdmission: the verdicts that a worker, or a command, loads models by.
//
// Asks models/model_probe.h with what the settings say, and remembers the answers of one round of
// loading. Not thread-safe; it starts threads of its own in Prepare and ends them there.
#pragma once

#include <atomic>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "app/options.h"
#include "base/status.h"
#include "models/model_probe.h"
#include "models/repository.h"

namespace millrace {

class EngineSet;

// How a worker loads versions of the model.
SessionOptions SessionOptionsFor(const AllOptions& options, const std::string& model_id);

class ModelAdmission {
 public:
  // All must outlive it; `cancel` may be null.
  ModelAdmission(EngineSet& engines, const AllOptions& options,
                 const std::atomic<bool>* cancel = nullptr)
      : engines_(engines), options_(options), cancel_(cancel) {}

  // Tells the event log of verdicts that were not kept from earlier.
  void LogVerdicts() { log_ = true; }
  // Verdicts asked for from here on are asked for anew, kept ones or not.
  void AskAgain() { again_ = true; }
  // Probes what has no verdict yet, on as many children at a time as there are usable CPUs. What
  // fails of it is for Admit to tell.
  void Prepare(const std::vector<ModelVersion>& versions);
  // Of every model the version that serves.
  void Prepare(const RepositoryListing& listing);

  // An error only when the version could not be probed.
  Result<ProbeVerdict> Verdict(const ModelVersion& version);
  // OK when the version may be loaded: its verdict is good, or probes are switched off. Else
  // kInvalidArgument (or what kept it from being probed) with its name, its path and the reason.
  Status Admit(const ModelVersion& version);
  // That `loaded` is of the bytes that were admitted.
  Status Confirm(const LoadedModel& loaded) const;

 private:
  using Key = std::pair<std::string, std::string>;  // Path and model id.
  void LogVerdict(const ModelVersion& version, const ProbeVerdict& verdict) const;
  Result<ProbeOptions> OptionsFor(const ModelVersion& version);

  EngineSet& engines_;
  const AllOptions& options_;
  const std::atomic<bool>* const cancel_;
  bool again_ = false;
  bool log_ = false;
  std::map<Key, Result<ProbeVerdict>> known_;
};

}  // namespace millrace
