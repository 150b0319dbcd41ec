// The lifecycle with a real worker on a real local log; only where versions come from is made up.
#include "pipeline/model_lifecycle.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

#include "codec/model_event.h"
#include "pipeline/worker.h"
#include "runtime/test_support.h"
#include "transport/local/local_log.h"

namespace millrace {
namespace {

// Versions by "model:version": the text of a test model, or why it cannot be loaded.
class FakeLoader final : public VersionLoader {
 public:
  explicit FakeLoader(TempFolder& folder) : folder_(folder), engine_(NewTestEngine()) {}

  Result<ModelToServe> Load(const std::string& model_id, const VersionSpec& spec,
                            const Report& report) override {
    const std::lock_guard lock(mutex_);
    ++loads_[model_id + ":" + spec.version];
    report(ModelState::kWarming);
    if (const auto broken = broken_.find(spec.version); broken != broken_.end()) {
      return broken->second;
    }
    ModelVersion version;
    version.model_id = model_id;
    version.version = spec.version;
    version.path = folder_.Write("models/" + spec.version + ".test", "elements=1\n");
    version.engine = kTestEngine;
    Result<std::shared_ptr<const LoadedModel>> loaded =
        LoadModel(*engine_, version, SessionOptions{});
    if (!loaded.ok()) return loaded.status();
    ModelToServe serve;
    serve.loaded = std::move(loaded).value();
    serve.footprint = 1;
    serve.pinned = Pinned(model_id);
    return serve;
  }
  Result<std::vector<Default>> Defaults() override {
    std::vector<Default> defaults;
    for (const std::string& id : ids_) defaults.push_back({id, {"1", "", ""}});
    return defaults;
  }
  Result<std::optional<VersionSpec>> DefaultOf(const std::string& model_id) override {
    if (!ids_.contains(model_id)) return std::optional<VersionSpec>();
    return std::optional<VersionSpec>(VersionSpec{"1", "", ""});
  }
  bool Pinned(const std::string& model_id) const override { return model_id == "pinned"; }
  void Cancel() override {}

  void Break(const std::string& version, StatusCode code) {
    const std::lock_guard lock(mutex_);
    broken_[version] = Status(code, "broken on purpose");
  }
  void Mend(const std::string& version) {
    const std::lock_guard lock(mutex_);
    broken_.erase(version);
  }
  int loads(const std::string& name) {
    const std::lock_guard lock(mutex_);
    return loads_[name];
  }

  std::set<std::string> ids_ = {"m"};

 private:
  TempFolder& folder_;
  std::unique_ptr<Engine> engine_;
  std::mutex mutex_;
  std::map<std::string, Status> broken_;
  std::map<std::string, int> loads_;
};

class ModelLifecycleTest : public ::testing::Test {
 protected:
  ModelLifecycleTest() : loader_(folder_) {
    LocalLogOptions local;
    local.dir = (folder_.path() / "log").string();
    local.durability = LocalDurability::kNormal;
    log_ = OpenLocalLog(local).value();
    for (const TopicSpec& spec : ContractTopics(topics_, 0.05)) {
      EXPECT_TRUE(log_->CreateTopic(spec).ok());
    }
  }
  ~ModelLifecycleTest() override { StopWorker(); }

  Status StartWorker() {
    registry_ = std::make_unique<MetricRegistry>();
    shadow_ = std::make_unique<Shadow>(*log_, topics_, CodecLimits(), SystemClock(), *registry_);
    options_.topics = topics_;
    options_.worker = "w";
    lifecycle_ =
        std::make_unique<ModelLifecycle>(options_, SystemClock(), *log_, loader_, *shadow_);
    MILLRACE_RETURN_IF_ERROR(lifecycle_->CatchUp(SystemClock().Now() + Millis(10'000)));
    MILLRACE_RETURN_IF_ERROR(lifecycle_->LoadAll());
    WorkerOptions worker;
    worker.group = "g";
    worker.executor.threads = 2;
    worker.shadow = shadow_.get();
    worker.allow_missing_for = allow_missing_for_;
    Result<WorkerLog> log = log_->OpenWorker({.group = "g", .topics = topics_});
    if (!log.ok()) return log.status();
    worker_ = std::make_unique<Worker>(worker, SystemClock(), *registry_, std::move(log).value(),
                                       lifecycle_.get());
    MILLRACE_RETURN_IF_ERROR(lifecycle_->Serve(worker_->serving()));
    MILLRACE_RETURN_IF_ERROR(worker_->Start());
    shadow_->Start();
    lifecycle_->Start();
    return {};
  }
  void StopWorker() {
    if (worker_ == nullptr) return;
    worker_->RequestStop();
    EXPECT_TRUE(worker_->Wait().ok());
    lifecycle_->Stop();
    shadow_->Stop();
    worker_.reset();
    lifecycle_.reset();
  }

  void Tell(ModelAction action, const std::string& version, const std::string& model = "m",
            double percent = 0) {
    ModelEvent event;
    event.model_id = model;
    event.action = action;
    event.version.version = version;
    event.canary_percent = percent;
    const std::string value = EncodeModelEvent(event);
    ProducerRecord record;
    record.key = model;
    record.value = value;
    ASSERT_TRUE(log_->NewProducer().value()->Append(topics_.events, {&record, 1}).ok());
  }
  void Send(int count, const std::string& model = "m") {
    ByteBuffer headers;
    AppendHeader("model_id", model, headers);
    std::unique_ptr<Producer> producer = log_->NewProducer().value();
    for (int i = 0; i < count; ++i) {
      const std::string key = "t" + std::to_string(sent_ % 7) + "|" + model;
      const std::string value = R"({"request_id":"r)" + std::to_string(sent_) +
                                R"(","tenant_id":"t)" + std::to_string(sent_ % 7) +
                                R"(","input":[1]})";
      ++sent_;
      ProducerRecord record;
      record.key = key;
      record.value = value;
      record.headers = HeadersView(headers.view());
      ASSERT_TRUE(producer->Append(topics_.requests, {&record, 1}).ok());
    }
  }
  template <class Condition>
  ::testing::AssertionResult Eventually(Condition condition) {
    for (int i = 0; i < 20'000; ++i) {
      if (condition()) return ::testing::AssertionSuccess();
      std::this_thread::sleep_for(Millis(1));
    }
    return ::testing::AssertionFailure() << "did not come true";
  }
  // The versions that are loaded: "m:1 m:2".
  std::string Loaded() {
    std::set<std::string> names;
    for (const auto& model : worker_->models().versions()) {
      names.insert(model->ref().model_id + ":" + model->ref().version);
    }
    std::string all;
    for (const std::string& name : names) all += (all.empty() ? "" : " ") + name;
    return all;
  }
  bool Answered() {
    return registry_->SumCounters("millrace_records_produced_total") ==
           static_cast<std::uint64_t>(sent_);
  }
  std::uint64_t Results(const std::string& version) {
    return registry_->SumCounters("millrace_requests_total",
                                  {{"version", version}, {"outcome", "ok"}});
  }

  TempFolder folder_;
  TopicOptions topics_;
  FakeLoader loader_;
  std::unique_ptr<Log> log_;
  ModelLifecycle::Options options_;
  Millis allow_missing_for_{0};
  int sent_ = 0;
  std::unique_ptr<MetricRegistry> registry_;
  std::unique_ptr<Shadow> shadow_;
  std::unique_ptr<ModelLifecycle> lifecycle_;
  std::unique_ptr<Worker> worker_;
};

TEST_F(ModelLifecycleTest, APromotedVersionServesAndTheOneBeforeItLeaves) {
  ASSERT_TRUE(StartWorker().ok());
  EXPECT_EQ(Loaded(), "m:1");
  Send(20);
  ASSERT_TRUE(Eventually([this] { return Answered(); }));
  Tell(ModelAction::kPromote, "2");
  ASSERT_TRUE(Eventually([this] { return Loaded() == "m:2"; }));
  Send(20);
  ASSERT_TRUE(Eventually([this] { return Answered(); }));
  EXPECT_EQ(Results("1"), 20u);
  EXPECT_EQ(Results("2"), 20u);
}

TEST_F(ModelLifecycleTest, WhatCannotBeLoadedIsTriedOnceUnlessItMayPass) {
  ASSERT_TRUE(StartWorker().ok());
  loader_.Break("2", StatusCode::kInvalidArgument);
  loader_.Break("3", StatusCode::kUnavailable);
  Tell(ModelAction::kPromote, "2");
  // It names no place and no digest: it could be mended where it is.
  ASSERT_TRUE(Eventually([this] { return loader_.loads("m:2") >= 2; }));
  EXPECT_EQ(Loaded(), "m:1");
  Tell(ModelAction::kPromote, "3");
  ASSERT_TRUE(Eventually([this] { return loader_.loads("m:3") >= 1; }));
  loader_.Mend("3");
  ASSERT_TRUE(Eventually([this] { return Loaded() == "m:3"; }));
}

TEST_F(ModelLifecycleTest, AWorkerThatStartsLaterServesTheSame) {
  Tell(ModelAction::kPromote, "2");
  Tell(ModelAction::kPromote, "3");
  Tell(ModelAction::kCanary, "4", "m", 50);
  ASSERT_TRUE(StartWorker().ok());
  EXPECT_EQ(Loaded(), "m:3 m:4");
}

TEST_F(ModelLifecycleTest, AtStartItFallsBackOnWhatServedBefore) {
  Tell(ModelAction::kPromote, "2");
  Tell(ModelAction::kPromote, "3");
  loader_.Break("3", StatusCode::kInvalidArgument);
  ASSERT_TRUE(StartWorker().ok());
  EXPECT_EQ(Loaded(), "m:2");
}

TEST_F(ModelLifecycleTest, AtStartAModelWithoutEventsMustLoad) {
  loader_.Break("1", StatusCode::kInvalidArgument);
  const Status started = StartWorker();
  EXPECT_EQ(started.code(), StatusCode::kInvalidArgument) << started.ToString();
}

TEST_F(ModelLifecycleTest, ARetiredModelServesNothingAndItsRequestsDoNotWait) {
  allow_missing_for_ = Millis(3'600'000);
  ASSERT_TRUE(StartWorker().ok());
  Tell(ModelAction::kRetire, "");
  ASSERT_TRUE(Eventually([this] { return Loaded().empty(); }));
  Send(10);
  ASSERT_TRUE(Eventually([this] { return Answered(); }));
  EXPECT_EQ(registry_->SumCounters("millrace_dead_letters_total", {{"reason", "unknown_model"}}),
            10u);
}

TEST_F(ModelLifecycleTest, LazilyAModelIsLoadedWhenItsRequestsWait) {
  loader_.ids_ = {"a", "b", "pinned"};
  options_.lazy = true;
  ASSERT_TRUE(StartWorker().ok());
  EXPECT_EQ(Loaded(), "pinned:1");
  Send(30, "b");
  ASSERT_TRUE(Eventually([this] { return Answered(); }));
  EXPECT_EQ(Loaded(), "b:1 pinned:1");
  EXPECT_EQ(Results("1"), 30u);
}

// Of the model events, what the last owner of the partitions is said to have seen.
class SeenByOthers final : public Source::Listener {
 public:
  SeenByOthers(Log& log, const TopicOptions& topics, std::int64_t events) : events_(events) {
    WorkerLog worker = log.OpenWorker({.group = "g", .topics = topics}).value();
    EXPECT_TRUE(worker.source->Start(this).ok());
    EXPECT_EQ(worker.committer->Commit(UnitOfWork{{}, positions_}).outcome,
              CommitOutcome::kCommitted);
    EXPECT_TRUE(worker.source->Close().ok());
    worker.committer.reset();
  }
  void OnAssigned(std::span<const PartitionAssignment> partitions) override {
    for (const PartitionAssignment& one : partitions) {
      positions_.push_back({.slot = one.slot,
                            .epoch = one.epoch,
                            .base = one.position,
                            .next = one.position,
                            .note = EncodeNote(one.position, {}, events_)});
    }
  }
  void OnRevoked(std::span<const PartitionSlot>) override {}
  void OnLost(std::span<const PartitionSlot>) override {}
  void OnPositionAdvanced(PartitionSlot, Offset) override {}

 private:
  const std::int64_t events_;
  std::vector<PartitionPosition> positions_;
};

TEST_F(ModelLifecycleTest, APartitionWaitsForTheModelEventsThatItsLastOwnerHadSeen) {
  Tell(ModelAction::kPromote, "2");
  SeenByOthers(*log_, topics_, 2);  // One more than there are.
  ASSERT_TRUE(StartWorker().ok());
  EXPECT_EQ(lifecycle_->progress().applied.load(), 1);
  Send(100);
  std::this_thread::sleep_for(Millis(300));
  EXPECT_EQ(Results("2"), 0u);
  Tell(ModelAction::kPromote, "3");
  ASSERT_TRUE(Eventually([this] { return Answered(); }));
  EXPECT_EQ(Results("3"), 100u);
  // What it has committed says so, and a successor that has seen as much waits for nothing.
  StopWorker();
  const auto committed = log_->CommittedOffsets("g", topics_.requests).value();
  for (const auto& [partition, at] : committed) {
    std::int64_t events = -1;
    ASSERT_TRUE(DecodeNote(at.position, at.note, &events).ok());
    EXPECT_EQ(events, 2) << partition;
  }
  ASSERT_TRUE(StartWorker().ok());
  Send(10);
  ASSERT_TRUE(Eventually([this] { return Results("3") == 10u; }));
}

TEST_F(ModelLifecycleTest, WithinItsMemoryWhatWasUsedLongestAgoFallsAsleepAndWakesAgain) {
  loader_.ids_ = {"a", "b", "c", "d", "pinned"};
  options_.memory = 3;
  ASSERT_TRUE(StartWorker().ok());
  // A pinned one takes its room, whatever it is.
  ASSERT_TRUE(Eventually([this] { return Loaded() == "b:1 c:1 pinned:1"; })) << Loaded();
  for (const char* const id : {"a", "b", "d"}) {
    Send(5, id);
    ASSERT_TRUE(Eventually([this] { return Answered(); })) << id;
  }
  ASSERT_TRUE(Eventually([this] { return Loaded() == "b:1 d:1 pinned:1"; })) << Loaded();
  for (int round = 0; round < 20; ++round) {
    Send(3, std::string(1, static_cast<char>('a' + round % 4)));
    ASSERT_TRUE(Eventually([this] { return Answered(); })) << round;
  }
  EXPECT_EQ(registry_->SumCounters("millrace_dead_letters_total"), 0u);
}

TEST_F(ModelLifecycleTest, WhatSleepsAndCannotBeLoadedHasDeadLetters) {
  loader_.ids_ = {"a", "pinned"};
  options_.lazy = true;
  ASSERT_TRUE(StartWorker().ok());
  loader_.Break("1", StatusCode::kInvalidArgument);
  Send(4, "a");
  ASSERT_TRUE(Eventually([this] { return Answered(); }));
  EXPECT_EQ(registry_->SumCounters("millrace_dead_letters_total", {{"reason", "unknown_model"}}),
            4u);
}

// Whatever comes in whatever order, under load: what serves at the end is what the events say, no
// request is without an answer, and what served before has gone.
TEST_F(ModelLifecycleTest, RandomEventsUnderLoadEndInWhatTheySay) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  ASSERT_TRUE(StartWorker().ok());
  for (int i = 0; i < 60; ++i) {
    const std::string version = std::to_string(1 + random() % 3);
    switch (random() % 5) {
      case 0:
        Tell(ModelAction::kCanary, version, "m", static_cast<double>(random() % 101));
        break;
      case 1:
        Tell(ModelAction::kRetire, random() % 4 == 0 ? "" : version);
        break;
      case 2:
        Tell(ModelAction::kShadow, version);
        break;
      default:
        Tell(ModelAction::kPromote, version);
    }
    Send(static_cast<int>(random() % 8));
  }
  Tell(ModelAction::kRetire, "");
  Tell(ModelAction::kPromote, "4");
  ASSERT_TRUE(Eventually([this] { return Loaded() == "m:4"; })) << Loaded();
  // It is there a moment before the first request is led to it.
  ASSERT_TRUE(Eventually([this] {
    Send(1);
    return Eventually([this] { return Answered(); }) && Results("4") > 0;
  }));
  const std::uint64_t before = Results("4");
  Send(10);
  ASSERT_TRUE(Eventually([this] { return Answered(); }));
  EXPECT_EQ(Results("4"), before + 10);
}

}  // namespace
}  // namespace millrace
