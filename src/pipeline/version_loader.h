// VersionLoader: how a model version gets from where it is into this process, ready to run.
//
// The lifecycle says which version; the composition root knows the repository, the store, the probe
// and the engines. One thread at a time, except Cancel.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "pipeline/model_table.h"
#include "types/model_event.h"

namespace millrace {

class VersionLoader {
 public:
  // Told when the loading enters another state.
  using Report = std::function<void(ModelState)>;

  virtual ~VersionLoader() = default;
  // Fetches, verifies, probes, loads and warms. A spec without a version takes one from the file.
  // kUnavailable, kNotFound, kResourceExhausted and kDeadlineExceeded may pass. Slow.
  virtual Result<ModelToServe> Load(const std::string& model_id, const VersionSpec& spec,
                                    const Report& report) = 0;
  // Does what can be done for all of Defaults at once; before they are loaded one by one.
  virtual void Prepare() {}
  // What the worker's own repository serves by itself: of every model the chosen version.
  struct Default {
    std::string model_id;
    VersionSpec spec;
  };
  virtual Result<std::vector<Default>> Defaults() = 0;
  // Of one model; nothing when the repository does not have it.
  virtual Result<std::optional<VersionSpec>> DefaultOf(const std::string& model_id) = 0;
  // Whether the model is to be loaded at start and kept, whatever room it takes.
  virtual bool Pinned(const std::string& model_id) const = 0;
  // Ends a Load in progress early; later ones fail with kCancelled. Any thread.
  virtual void Cancel() = 0;
};

}  // namespace millrace
