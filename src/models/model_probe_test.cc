#include "models/model_probe.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "models/probe_process.h"
#include "models/trial.h"
#include "runtime/test_support.h"

namespace millrace {
namespace {

bool Has(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

// Real processes with other behaviour than ours: shell scripts in the program's place.
class ModelProbeTest : public ::testing::Test {
 protected:
  ModelProbeTest() {
    version_.model_id = "m";
    version_.version = "1";
    version_.path = folder_.Write("repository/m/1/model.onnx", "bytes");
    options_.cache_dir = (folder_.path() / "cache").string();
    options_.limits.time = Millis(20'000);
  }

  void Child(const std::string& script) {
    options_.program = folder_.Write("child", "#!/bin/sh\n" + script + "\n");
    std::filesystem::permissions(options_.program, std::filesystem::perms::owner_all);
  }
  Result<ProbeVerdict> Probe(const std::atomic<bool>* cancel = nullptr) {
    return ProbeVersion(options_, version_, session_, cancel);
  }
  std::string Reason(const std::string& script) {
    Child(script);
    options_.again = true;
    const Result<ProbeVerdict> verdict = Probe();
    if (!verdict.ok()) return "error: " + std::string(verdict.status().message());
    EXPECT_FALSE(verdict->accepted);
    return verdict->reason;
  }

  static std::string Accepting() {
    ProbeVerdict verdict;
    verdict.accepted = true;
    verdict.sha256 = "set by whoever asked";
    return "echo '" + verdict.Write() + "' >&3";
  }
  static constexpr const char* kLoading = "echo '{\"stage\":\"load\"}' >&3\n";

  const TempFolder folder_;
  ProbeOptions options_;
  ModelVersion version_;
  SessionOptions session_;
};

TEST_F(ModelProbeTest, TakesTheChildsVerdictAndKeepsIt) {
  Child(std::string("echo run >> ") + (folder_.path() / "runs").string() + "\n" + kLoading +
        Accepting());
  const auto runs = [this] {
    std::ifstream file(folder_.path() / "runs");
    int lines = 0;
    for (std::string line; std::getline(file, line);) ++lines;
    return lines;
  };
  for (int i = 0; i < 3; ++i) {
    const Result<ProbeVerdict> verdict = Probe();
    ASSERT_TRUE(verdict.ok()) << verdict.status().ToString();
    EXPECT_TRUE(verdict->accepted);
    EXPECT_EQ(verdict->sha256.size(), 64U);
    EXPECT_EQ(verdict->from_store, i > 0);
  }
  EXPECT_EQ(runs(), 1);
  options_.again = true;
  EXPECT_TRUE(Probe().ok());
  EXPECT_EQ(runs(), 2);
  options_.again = false;
  // Whatever a verdict depends on asks anew when it changes.
  options_.engine_version = "another";
  EXPECT_TRUE(Probe().ok());
  EXPECT_EQ(runs(), 3);
  session_.max_rows = 7;
  EXPECT_TRUE(Probe().ok());
  EXPECT_EQ(runs(), 4);
  folder_.Write("repository/m/1/golden.ndjson", "{}");
  EXPECT_TRUE(Probe().ok());
  EXPECT_EQ(runs(), 5);
  folder_.Write("repository/m/1/model.onnx", "other bytes");
  EXPECT_TRUE(Probe().ok());
  EXPECT_EQ(runs(), 6);
  EXPECT_TRUE(Probe().ok());
  EXPECT_EQ(runs(), 6);
}

TEST_F(ModelProbeTest, SaysHowAChildEnded) {
  const std::string loading = kLoading;
  EXPECT_TRUE(Has(Reason(loading + "echo oh no >&2; kill -SEGV $$"),
                  "crashed its probe (SIGSEGV) while it was loaded; it said: oh no"));
  EXPECT_TRUE(Has(Reason(loading + "kill -FPE $$"), "SIGFPE"));
  EXPECT_TRUE(Has(Reason(loading + "kill -KILL $$"), "no memory left"));
  EXPECT_TRUE(Has(Reason(loading + "exit 0"), "ended its probe (exit 0)"));
  EXPECT_TRUE(Has(Reason(loading + "exit 3"), "ended its probe (exit 3)"));
  EXPECT_TRUE(Has(Reason(loading + Accepting() + "; exit 3"), "ended its probe (exit 3)"));
  EXPECT_TRUE(Has(Reason(loading + Accepting() + "; kill -ABRT $$"), "SIGABRT"));
  EXPECT_TRUE(Has(Reason(loading + "echo nonsense >&3"), "an answer of no sense"));
  EXPECT_TRUE(Has(Reason(loading + Accepting() + "; echo more >&3"), "an answer of no sense"));
  EXPECT_TRUE(Has(Reason(loading + "printf '{\"accepted\":true' >&3"), "an answer of no sense"));
  EXPECT_TRUE(Has(Reason(loading + "while :; do echo '{\"stage\":\"load\"}' >&3; done"),
                  "write without end"));
  EXPECT_TRUE(Has(Reason("echo '{\"stage\":\"warm\"}' >&3\nkill -SEGV $$"), "first rows ran"));
}

TEST_F(ModelProbeTest, WhatIsNoFaultOfTheModelIsNoVerdict) {
  EXPECT_TRUE(Has(Reason("exit 127"), "error: the probe did not come to look at the model"));
  EXPECT_TRUE(Has(Reason("echo '{\"error\":\"no library\"}' >&3"), "error: the probe failed: no"));
  options_.program = "/nowhere/millrace";
  const Status status = Probe().status();
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_TRUE(Has(status.message(), "cannot be probed")) << status.message();
  EXPECT_FALSE(std::filesystem::exists(options_.cache_dir));
}

TEST_F(ModelProbeTest, JudgesNoFileThatChangedMeanwhile) {
  Child(std::string(kLoading) + "echo more >> " + version_.path + "\n" + Accepting());
  const Status status = Probe().status();
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_TRUE(Has(status.message(), "changed while it was probed")) << status.message();
  EXPECT_FALSE(std::filesystem::exists(options_.cache_dir));
}

TEST_F(ModelProbeTest, EndsAChildThatHangs) {
  options_.limits.time = Millis(300);
  const std::string pid_file = (folder_.path() / "pid").string();
  for (const std::string& how :
       {std::string("sleep 600"), std::string("exec >&- 2>&- 3>&-; sleep 600"),
        std::string("trap '' TERM; while :; do :; done"),
        std::string("while :; do echo chatter; done")}) {
    const MonoTime start = SystemClock().Now();
    const std::string reason = Reason("echo $$ > " + pid_file + "\n" + kLoading + how);
    EXPECT_TRUE(Has(reason, "was not done within 300 ms")) << reason;
    EXPECT_LT(SystemClock().Now() - start, Millis(10'000));
    pid_t pid = 0;
    std::ifstream(pid_file) >> pid;
    ASSERT_GT(pid, 0);
    EXPECT_NE(::kill(pid, 0), 0) << "the child was left behind";
  }
}

TEST_F(ModelProbeTest, StopsWhenItIsToldTo) {
  Child(std::string(kLoading) + "sleep 600");
  std::atomic<bool> cancel{false};
  std::thread later([&cancel] {
    std::this_thread::sleep_for(Millis(100));
    cancel.store(true);
  });
  EXPECT_EQ(Probe(&cancel).status().code(), StatusCode::kCancelled);
  later.join();
}

TEST_F(ModelProbeTest, GivesTheChildNothingOfItsOwn) {
  ::setenv("MILLRACE_TEST_SECRET", "hunter2", 1);
  const int ours = ::open(version_.path.c_str(), O_RDONLY);  // Without O_CLOEXEC.
  const std::string seen = (folder_.path() / "seen").string();
  Child("ls /proc/self/fd | tr '\\n' ' ' > " + seen + "; env >> " + seen + "\n" + kLoading +
        Accepting());
  ASSERT_TRUE(Probe().ok());
  ::close(ours);
  std::ifstream file(seen);
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  EXPECT_FALSE(Has(text, "hunter2"));
  // stdin, stdout (ls's is a pipe of its own), stderr, the answer, and what ls opens itself.
  EXPECT_TRUE(text.starts_with("0 1 2 3 4 \n") || text.starts_with("0 1 2 3 4 ")) << text;
  EXPECT_FALSE(text.starts_with("0 1 2 3 4 5")) << text;
}

TEST_F(ModelProbeTest, RejectsWhatIsNoFileWithoutAChild) {
  options_.program = "/nowhere/millrace";
  options_.limits.max_bytes = 4;
  EXPECT_TRUE(Has(Probe()->reason, "repository.probe.max_bytes is 4"));
  std::filesystem::remove(version_.path);
  EXPECT_TRUE(Has(Probe()->reason, "cannot be opened"));
  ASSERT_EQ(::mkfifo(version_.path.c_str(), 0600), 0);
  EXPECT_TRUE(Has(Probe()->reason, "not a regular file"));
}

TEST_F(ModelProbeTest, RejectsGoldenRowsOfElsewhere) {
  options_.program = "/nowhere/millrace";
  const std::string elsewhere = folder_.Write("elsewhere", "{}");
  std::filesystem::create_symlink(elsewhere, folder_.path() / "repository/m/1/golden.ndjson");
  EXPECT_TRUE(Has(Probe()->reason, "leads out of the version's folder"));
}

TEST_F(ModelProbeTest, KeepsNoRejectionOfATestModel) {
  version_.engine = kTestEngine;
  Child(std::string(kLoading) + "exit 1");
  EXPECT_FALSE(Probe()->accepted);
  EXPECT_FALSE(Probe()->from_store);
}

TEST(ProbeOrder, SurvivesItsText) {
  ProbeOrder order;
  order.path = "/a b/\"c\"/model.onnx";
  order.name = "m:1";
  order.engine = "test";
  order.session.max_rows = 7;
  order.limits.allow_domains = "x,y";
  order.parent = 12;
  const auto read = ProbeOrder::Parse(order.Write());
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(read->Write(), order.Write());
  EXPECT_FALSE(ProbeOrder::Parse("{}").has_value());
}

// Whether a model's answers depend on the batch, of models that are known for it.
TEST(FindDeterminism, TellsModelsApart) {
  Result<std::unique_ptr<Engine>> engine = OpenTestOrt();
  ASSERT_TRUE(engine.ok()) << engine.status().ToString();
  const auto determinism = [&](const std::string& folder) {
    ModelVersion version;
    version.model_id = "m";
    version.version = "1";
    version.path = TestModelPath(folder);
    version.engine = kOnnxRuntimeEngine;
    const auto loaded = LoadModel(**engine, version, {});
    EXPECT_TRUE(loaded.ok()) << loaded.status().ToString();
    return FindDeterminism(**loaded, 64, SystemClock().Now() + Millis(60'000));
  };
  EXPECT_EQ(determinism("linear/1"), Determinism::kExact);
  EXPECT_EQ(determinism("string_input/1"), Determinism::kExact);
  EXPECT_EQ(determinism("mixed_inputs/1"), Determinism::kExact);
  EXPECT_EQ(determinism("fixed_batch/1"), Determinism::kExact);
  EXPECT_EQ(determinism("run_shape/1"), Determinism::kExact);
  EXPECT_EQ(determinism("nonfinite/1"), Determinism::kExact);
}

}  // namespace
}  // namespace millrace
