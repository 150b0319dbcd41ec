// Reads a model.yaml: the ManifestReader that the model repository is given.
//
// Pure apart from reading the file; any thread. Knows exactly the keys of ModelManifest, so that a
// misspelt key is an error with its line and the nearest name, not silence.
#pragma once

#include <string>

#include "base/status.h"
#include "models/options.h"

namespace millrace {

// The largest model.yaml and the most labels that are read.
inline constexpr std::size_t kMaxManifestBytes = std::size_t{1} << 20;
inline constexpr std::size_t kMaxManifestLabels = 100'000;

// kNotFound, or kConfiguration with "path:line: what was wrong, what was expected".
Result<ModelManifest> ReadModelManifest(const std::string& path);

}  // namespace millrace
