// ModelLifecycle: which versions serve, from the events to the routes.
//
// Events say what shall serve of a model (ModelTarget); the lifecycle makes it so. A version is
// loaded completely - fetched, verified, probed, warm - before the first request is led to it, and
// the one before it goes on until the last request that was decoded for it has its outcome.
// Whatever fails on the way leaves what serves as it is, and is told: an event of the log, a
// metric, a record of the status topic. What may pass is tried again.
//
// A worker that starts reads all events first (CatchUp) and loads what they come to (LoadAll), so
// that it serves what those serve that were there. If that cannot be loaded it falls back on what
// served before, as they did. Models without events serve what the repository has.
//
// Memory: with a budget, or lazily, a model's version may sleep: its route says so, its requests
// wait at the intake, and wake it. Whatever is used longest ago falls asleep when there is no room,
// but no version before the requests that have woken it were given to it. Models that wait for room
// are woken in the order in which they were asked for.
//
// Then two threads: mr-events follows the topic (ModelFeed), mr-models loads, one version at a
// time, and takes out what nobody uses any more. Requests of models that are not there (Want) make
// it look into the repository. Public methods belong to the owner's thread, except Want, Status and
// Cancel.
#pragma once

#include <atomic>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "models/model_target.h"
#include "pipeline/model_feed.h"
#include "pipeline/model_seeker.h"
#include "pipeline/options.h"
#include "pipeline/serving_set.h"
#include "pipeline/shadow.h"
#include "pipeline/version_loader.h"

namespace millrace {

class ModelLifecycle final : public ModelSeeker {
 public:
  struct Options {
    TopicOptions topics;
    std::string worker;  // How the status records call this worker.
    // The model that messages without a model are for; empty: the only one there is.
    std::string model_path_for;
    // Loads nothing but pinned models before requests ask for it.
    bool lazy = false;
    // Of the footprints of all that is loaded; 0: any. Beyond it the versions that were used
    // longest ago are unloaded, and loaded again when requests wait for them.
    std::size_t memory = 0;
  };

  // Between two looks for models that requests wait for.
  static constexpr Millis kLookEvery{250};
  // Models looked for at a time; requests of others wait without that anyone looks.
  static constexpr std::size_t kMaxWanted = 64;
  // Versions that wait for their last outcomes; before a further one is loaded one has to go.
  static constexpr std::size_t kMaxLeaving = 4;
  // Pauses between attempts at what may pass, doubling.
  static constexpr Millis kFirstRetry{1'000};
  static constexpr Millis kLongestRetry{60'000};
  // How long a model that is asked for waits for others to stand idle. After that one that is busy
  // makes room, unless it has not served for as long itself.
  static constexpr Millis kRoomPatience{1'000};

  // `log`, `loader` and `shadow` must outlive it.
  ModelLifecycle(Options options, const Clock& clock, Log& log, VersionLoader& loader,
                 Shadow& shadow);
  ~ModelLifecycle() override;

  // Reads the events that there are. kUnavailable when the log does not answer by `deadline`.
  Status CatchUp(MonoTime deadline) { return feed_.CatchUp(deadline, cancelled_); }
  // Loads what shall serve. An error when the repository's own choice of a model cannot be loaded:
  // a worker that starts without it would turn its requests into dead letters. What an event wants
  // and cannot be loaded, nor anything before it, is reported and not served.
  Status LoadAll();
  // Puts what was loaded into a worker that has not started yet.
  Status Serve(ServingSet& serving);
  // Follows the events, until Stop. REQUIRES: the worker of the ServingSet runs.
  void Start();
  void Stop();
  // Ends CatchUp and LoadAll early. Any thread.
  void Cancel();

  void Want(std::string_view model_id, MonoTime until) override;
  const ModelProgress& progress() const override { return progress_; }
  std::size_t models() const;  // Those that serve, or would when they are asked. Before Start.

 private:
  // A version that is loaded.
  struct Lane {
    VersionSpec spec;  // As it was asked for.
    ModelRef ref;
    std::size_t footprint = 0;
    bool pinned = false;
    std::optional<ModelToServe> waiting;  // Until there is a worker to put it into.
    ServedModel* served = nullptr;
    std::uint64_t route = 0;  // The number of the first route that led to it; 0: none has.
    MonoTime since{};         // Of that route.
  };
  struct Failed {
    Status status;
    Millis pause{0};      // Before the next attempt; 0: it would fail again.
    MonoTime retry_at{};  // If there is one.
  };
  struct Model {
    // Guarded by mutex_.
    ModelTarget target;
    bool has_events = false;
    bool reload = false;            // The same place may hold another version.
    std::vector<VersionSpec> news;  // Named by an event since: what failed may succeed now.
    // Of whoever loads.
    std::vector<std::unique_ptr<Lane>> lanes;
    std::vector<std::pair<VersionSpec, Failed>> failed;
    Lane* stable = nullptr;
    Lane* canary = nullptr;
    std::size_t footprint = 0;          // Of the version that served last; 0: none has.
    std::optional<VersionSpec> shadow;  // That runs.
    std::size_t shadow_footprint = 0;
    bool awake = false;   // It is to be loaded: requests wait, or an event has named it.
    bool asleep = false;  // It could be.
    MonoTime retry_at = MonoTime::max();
    std::optional<ModelStatus> told;
  };
  struct Wanted {
    MonoTime since;
    MonoTime until;
  };
  struct Wish {
    VersionSpec spec;
    bool reload = false;
  };

  void OnEvent(const ModelEvent& event);
  void OnTold();
  // What was told is served, or cannot be, unless some of it is still to be looked at.
  void NoteProgressLocked();
  void Run();
  // Makes the model what its target says, as far as it can be loaded.
  Status Reconcile(const std::string& model_id);
  Result<std::optional<VersionSpec>> StableOf(const std::string& model_id,
                                              const ModelTarget& target);
  // The lane of this version, loaded if it is not yet; null: it cannot be.
  Lane* Ensure(const std::string& model_id, Model& model, const Wish& wish);
  // Whether it is not loaded before someone asks for it.
  bool MaySleep(const std::string& model_id, Model& model, const VersionSpec& stable);
  void EnsureShadow(const std::string& model_id, Model& model, const ModelTarget& target);
  Lane* FallBack(const std::string& model_id, Model& model, const ModelTarget& target);
  Result<std::unique_ptr<Lane>> LoadLane(const std::string& model_id, Model& model,
                                         const Wish& wish);
  static Lane* FindLane(Model& model, const VersionSpec& spec);
  // Why this version could not be loaded; null: it was not tried, or could be.
  static const Failed* FailureOf(const Model& model, const VersionSpec& spec);
  void NoteFailure(const std::string& model_id, Model& model, const VersionSpec& spec,
                   const Status& status);
  void Publish(const std::string& model_id, Model& model, const ModelTarget& target);
  // Bytes that what is loaded is expected to hold, without what leaves.
  std::size_t Staying() const;
  std::size_t LeavingBytes() const;
  enum class Choice : std::uint8_t {
    kIdle,  // Has no request, and had those that it was woken for.
    kBusy,  // Has served for a while.
    kAny,   // May sleep at some time.
  };
  // The model that was used longest ago of those that may sleep, but for `except`.
  std::optional<std::string> LongestUnused(const std::string& except, Choice choice) const;
  void PutToSleep(const std::string& model_id);
  // Puts models that are idle to sleep while more is loaded than may be.
  void Trim(const std::string& except);
  // Whether a model that sleeps, and was asked for at `since`, may be loaded now. Makes room for
  // it.
  bool RoomFor(const std::string& model_id, MonoTime since);
  // Those that serve no more leave once nobody uses them.
  void RetireLanes(const std::string& model_id, Model& model);
  void Sweep();
  // False: it waits for room.
  bool LookFor(const std::string& model_id, MonoTime since);
  void LookForWanted();
  void TellState(const std::string& model_id, Model& model, const VersionSpec& spec,
                 ModelState state, const std::string& detail);
  void TellOutcome(const std::string& model_id, Model& model, const ModelTarget& target);
  std::optional<std::string> NextDirty(MonoTime now);
  Model& ModelOf(const std::string& model_id);

  const Options options_;
  const Clock& clock_;
  VersionLoader& loader_;
  Shadow& shadow_;
  ModelProgress progress_;
  ModelFeed feed_;
  ServingSet* serving_ = nullptr;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by mutex_, as far as Model says; entries stay.
  std::map<std::string, std::unique_ptr<Model>, std::less<>> models_;
  std::vector<std::string> dirty_;
  std::int64_t told_ = 0;  // Of ModelProgress::seen, what has come to `dirty_`.
  bool busy_ = false;      // A model that was in `dirty_` is being looked at.
  std::map<std::string, Wanted, std::less<>> wanted_;  // By id.
  bool look_now_ = false;
  bool stop_ = false;
  std::atomic<bool> cancelled_{false};

  // Of whoever loads.
  struct Leaving {
    std::string model_id;
    std::unique_ptr<Lane> lane;
  };
  std::vector<Leaving> leaving_;
  bool short_of_room_ = false;  // Models that are asked for wait for others to leave.
  LogLimiter no_room_{Millis(30'000)};

  std::thread thread_;
};

}  // namespace millrace
