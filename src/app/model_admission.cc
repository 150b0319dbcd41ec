#include "app/model_admission.h"

#include <algorithm>
#include <thread>

#include "app/model_loader.h"
#include "base/thread_name.h"
#include "pipeline/worker.h"
#include "telemetry/log.h"

namespace millrace {
namespace {

std::string NameOf(const ModelVersion& version) {
  return "model " + version.model_id + ":" + version.version + " (" + version.path + ")";
}

}  // namespace

SessionOptions SessionOptionsFor(const AllOptions& options, const std::string& model_id) {
  const auto found = options.models.find(model_id);
  const ModelOptions model = found == options.models.end() ? ModelOptions() : found->second;
  return SessionOptionsOf(model, model.max_rows > 0 ? model.max_rows : options.batch.max_rows);
}

void ModelAdmission::LogVerdict(const ModelVersion& version, const ProbeVerdict& verdict) const {
  if (!log_ || verdict.from_store) return;
  LogEvent(verdict.accepted ? LogLevel::kInfo : LogLevel::kWarn,
           verdict.accepted ? "model_probed" : "model_rejected",
           verdict.accepted ? "the model has proved itself in its probe"
                            : "the model was rejected by its probe and is not loaded",
           {{"model", version.model_id},
            {"version", version.version},
            {"sha256", verdict.sha256.substr(0, 12)},
            {"determinism", DeterminismName(verdict.determinism)},
            {"footprint_bytes", verdict.footprint_bytes},
            {"reason", verdict.reason}});
}

Result<ProbeOptions> ModelAdmission::OptionsFor(const ModelVersion& version) {
  const Result<Engine*> engine = engines_.Get(version.engine);
  if (!engine.ok()) return engine.status();
  ProbeOptions probe;
  probe.limits = options_.repository.probe;
  probe.cache_dir = options_.repository.cache_dir;
  probe.engine_version = (*engine)->Version();
  probe.ort_library = options_.runtime.ort_library;
  probe.again = again_;
  return probe;
}

void ModelAdmission::Prepare(const RepositoryListing& listing) {
  std::vector<ModelVersion> serving;
  for (const auto& [id, versions] : listing.models) {
    const auto configured = options_.models.find(id);
    const std::string pinned =
        configured == options_.models.end() ? "" : configured->second.version;
    for (const ModelVersion& version : versions) {
      const bool newest = &version == &versions.back();
      if (pinned.empty() ? newest : version.version == pinned) serving.push_back(version);
    }
  }
  Prepare(serving);
}

void ModelAdmission::Prepare(const std::vector<ModelVersion>& versions) {
  if (!options_.repository.probe.enabled && !again_) return;
  struct Job {
    const ModelVersion* version = nullptr;
    Result<ProbeOptions> options;
    std::optional<Result<ProbeVerdict>> verdict;
  };
  std::vector<Job> jobs;
  // Engines are opened here, by one thread.
  for (const ModelVersion& version : versions) jobs.push_back({&version, OptionsFor(version), {}});
  std::atomic<std::size_t> next{0};
  const auto work = [&] {
    for (std::size_t i = 0; (i = next.fetch_add(1)) < jobs.size();) {
      Job& job = jobs[i];
      if (!job.options.ok()) continue;
      job.verdict = ProbeVersion(*job.options, *job.version,
                                 SessionOptionsFor(options_, job.version->model_id), cancel_);
    }
  };
  const std::size_t wanted = std::min(jobs.size(), static_cast<std::size_t>(UsableCpus()));
  std::vector<std::thread> threads;
  for (std::size_t i = 1; i < wanted; ++i) {
    threads.emplace_back([&work] {
      SetThreadName("mr-admission");
      work();
    });
  }
  work();
  for (std::thread& thread : threads) thread.join();
  for (Job& job : jobs) {
    if (!job.verdict) continue;
    if (job.verdict->ok()) LogVerdict(*job.version, **job.verdict);
    known_.insert_or_assign({job.version->path, job.version->model_id}, std::move(*job.verdict));
  }
}

Result<ProbeVerdict> ModelAdmission::Verdict(const ModelVersion& version) {
  const Key key(version.path, version.model_id);
  if (const auto known = known_.find(key); known != known_.end()) return known->second;
  const Result<ProbeOptions> probe = OptionsFor(version);
  if (!probe.ok()) return probe.status();
  Result<ProbeVerdict> verdict =
      ProbeVersion(*probe, version, SessionOptionsFor(options_, version.model_id), cancel_);
  if (verdict.ok()) LogVerdict(version, *verdict);
  known_.insert_or_assign(key, verdict);
  return verdict;
}

Status ModelAdmission::Admit(const ModelVersion& version) {
  if (!options_.repository.probe.enabled) return {};
  const Result<ProbeVerdict> verdict = Verdict(version);
  if (!verdict.ok()) return verdict.status().WithContext(NameOf(version));
  if (verdict->accepted) return {};
  return {StatusCode::kInvalidArgument,
          NameOf(version) + ": rejected by its probe: " + verdict->reason};
}

Status ModelAdmission::Confirm(const LoadedModel& loaded) const {
  const auto known = known_.find({loaded.source.path, loaded.source.model_id});
  if (known == known_.end() || !known->second.ok()) return {};
  if (known->second->sha256 == loaded.ref.sha256) return {};
  return {StatusCode::kUnavailable,
          NameOf(loaded.source) +
              ": the file changed after it was probed; publish a version by "
              "renaming a finished folder"};
}

}  // namespace millrace
