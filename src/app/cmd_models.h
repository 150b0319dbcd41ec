// The parts of `millrace models` that have files of their own, and what all of them share: which
// versions there are, and which one a name on the command line stands for.
#pragma once

#include <string>
#include <vector>

#include "app/command.h"
#include "base/status.h"
#include "models/repository.h"

namespace millrace {

// Each adds its subcommand to `models`.
void RegisterModelsProbe(CLI::App& models, CommandTable& table);
void RegisterModelsVerify(CLI::App& models, CommandTable& table);
void RegisterModelEvents(CLI::App& models, CommandTable& table);

// The repository that the settings name.
Result<RepositoryListing> ScanModels(const CommandContext& context);
std::vector<ModelVersion> AllVersions(const RepositoryListing& listing);
// The one that serves: pinned by models.<id>.version, else the newest.
std::string ServingVersion(const std::vector<ModelVersion>& versions, const AllOptions& options);
// The version that `name`, "model" or "model:version", stands for. kNotFound says what there is.
Result<ModelVersion> NamedVersion(const RepositoryListing& listing, const AllOptions& options,
                                  const std::string& name);

}  // namespace millrace
