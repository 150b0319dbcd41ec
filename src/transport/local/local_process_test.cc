// The local log between processes: what a crash leaves, who wakes whom, what a full disk costs.
//
// Other processes are this test program again, started with a role in its environment: nothing of
// the parent's threads and connections is carried over.
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

#include <cstring>
#include <fstream>
#include <thread>

#include "base/crash_point.h"
#include "transport/local/local_log.h"
#include "transport/local/local_log_testing.h"

extern char** environ;

namespace millrace::local {
namespace {

constexpr char kRequests[] = "inference.requests";
constexpr char kResults[] = "inference.results";
constexpr char kDeadLetters[] = "inference.dlq";
constexpr int kProducedByEach = 20'000;

std::string RoleVariable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : value;
}

// Starts this program in a role. `extra` are more variables, "NAME=value".
pid_t Start(const std::string& role, const std::string& dir, std::vector<std::string> extra = {}) {
  std::vector<std::string> variables = std::move(extra);
  variables.push_back("MILLRACE_TEST_ROLE=" + role);
  variables.push_back("MILLRACE_TEST_DIR=" + dir);
  for (char** variable = environ; *variable != nullptr; ++variable) {
    if (std::strncmp(*variable, "MILLRACE_", 9) != 0) variables.push_back(*variable);
  }
  std::vector<char*> env;
  for (std::string& variable : variables) env.push_back(variable.data());
  env.push_back(nullptr);
  std::string program = "/proc/self/exe";
  std::string filter = "--gtest_filter=LocalLogRole.DISABLED_Play";
  std::string disabled = "--gtest_also_run_disabled_tests";
  std::string brief = "--gtest_brief=1";
  char* argv[] = {program.data(), filter.data(), disabled.data(), brief.data(), nullptr};
  pid_t pid = -1;
  EXPECT_EQ(posix_spawn(&pid, "/proc/self/exe", nullptr, nullptr, argv, env.data()), 0);
  return pid;
}

int ExitCode(pid_t pid) {
  int status = 0;
  EXPECT_EQ(waitpid(pid, &status, 0), pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

// A unit with results in both partitions, a dead letter and a position.
void FillUnit(UnitBuilder& unit) {
  for (int i = 0; i < 20; ++i) {
    unit.Output(OutputTopic::kResults, "r" + std::to_string(i), "result");
  }
  unit.Output(OutputTopic::kDeadLetters, "t", "dead").Position(0, 21);
}

void PlayCommitter(Log& log) {
  auto worker = log.OpenWorker({.group = "g"});
  ASSERT_TRUE(worker.ok()) << worker.status().ToString();
  NotingListener listener;
  ASSERT_TRUE(worker->source->Start(&listener).ok());
  UnitBuilder unit;
  FillUnit(unit);
  ASSERT_EQ(worker->committer->Commit(unit.unit()).outcome, CommitOutcome::kCommitted);
}

void PlayProducer(Log& log, const std::string& name) {
  auto producer = log.NewProducer();
  ASSERT_TRUE(producer.ok());
  std::vector<std::string> values;
  for (int i = 0; i < kProducedByEach; ++i) values.push_back(name + ":" + std::to_string(i));
  for (std::size_t done = 0; done < values.size(); done += 50) {
    std::vector<ProducerRecord> records;
    for (std::size_t i = done; i < done + 50; ++i) records.push_back(Keyed(name, values[i]));
    const Status status = (*producer)->Append(kRequests, records);
    ASSERT_TRUE(status.ok()) << status.ToString();
  }
}

// Not a test of its own: what the other processes do.
TEST(LocalLogRole, DISABLED_Play) {
  const std::string role = RoleVariable("MILLRACE_TEST_ROLE");
  if (role.empty()) GTEST_SKIP() << "only started by the tests of this file";
  auto log = OpenLog(RoleVariable("MILLRACE_TEST_DIR"));
  ASSERT_NE(log, nullptr);
  if (role == "commit") PlayCommitter(*log);
  if (role == "append-one") {
    ASSERT_TRUE(AppendOne(*log, kRequests, Keyed("k", "late")).ok());
  }
  if (role.rfind("produce-", 0) == 0) PlayProducer(*log, role);
  if (role == "write-for-ever") {
    while (true) ASSERT_TRUE(AppendOne(*log, kRequests, Keyed("k", "v")).ok());
  }
  if (role == "work-for-ever") {
    auto worker = log->OpenWorker({.group = "g"});
    ASSERT_TRUE(worker.ok());
    std::ofstream(RoleVariable("MILLRACE_TEST_DIR") + "/joined") << getpid();
    while (true) std::this_thread::sleep_for(Millis(1000));
  }
}

struct Outcomes {
  std::size_t results, dead_letters;
  std::int64_t position;
  friend bool operator==(const Outcomes&, const Outcomes&) = default;
  friend void PrintTo(const Outcomes& outcomes, std::ostream* out) {
    *out << outcomes.results << " results, " << outcomes.dead_letters << " dead letters, position "
         << outcomes.position;
  }
};

class LocalLogCrash : public testing::TestWithParam<std::pair<const char*, bool>> {};

TEST_P(LocalLogCrash, LeavesAllOfAUnitOrNothing) {
  if (!CrashPointsCompiledIn()) GTEST_SKIP() << "this build has no crash points";
  const auto& [point, survives] = GetParam();
  TempDir dir;
  OpenLogWithTopics(dir.path());
  const std::string armed = std::string("MILLRACE_CRASH_POINT=") + point;
  ASSERT_EQ(ExitCode(Start("commit", dir.path(), {armed})), kCrashPointExitCode);

  auto log = OpenLog(dir.path());
  const auto outcomes = [&] {
    return Outcomes{ReadAll(*log, kResults).size(), ReadAll(*log, kDeadLetters).size(),
                    log->CommittedOffsets("g", kRequests)->at(0).position.value()};
  };
  EXPECT_EQ(outcomes(), survives ? (Outcomes{20, 1, 21}) : (Outcomes{0, 0, 0}));
  if (survives) return;
  // And the dead worker's locks are nobody's.
  PlayCommitter(*log);
  EXPECT_EQ(outcomes(), (Outcomes{20, 1, 21}));
}

INSTANTIATE_TEST_SUITE_P(Points, LocalLogCrash,
                         testing::Values(std::pair("mid_produce", false),
                                         std::pair("before_commit", false),
                                         std::pair("after_commit", true)));

TEST(LocalLogProcesses, AKilledWriterHoldsNobodyUp) {
  TempDir dir;
  OpenLogWithTopics(dir.path());
  const pid_t writer = Start("write-for-ever", dir.path());
  auto log = OpenLog(dir.path());
  while (ReadAll(*log, kRequests).size() < 5) std::this_thread::sleep_for(Millis(1));
  ASSERT_EQ(kill(writer, SIGKILL), 0);
  EXPECT_EQ(ExitCode(writer), -SIGKILL);
  ASSERT_TRUE(AppendOne(*log, kRequests, Keyed("k", "mine")).ok());
  const auto found = ReadAll(*log, kRequests);
  EXPECT_EQ(found.back().value, "mine");
  for (std::size_t i = 0; i < found.size(); ++i) {
    ASSERT_EQ(found[i].offset, static_cast<std::int64_t>(i));
  }
}

TEST(LocalLogProcesses, NamesTheOtherWorkerAndTakesOverWhenItDies) {
  TempDir dir;
  auto log = OpenLogWithTopics(dir.path());
  const pid_t other = Start("work-for-ever", dir.path());
  while (!std::filesystem::exists(dir.path() + "/joined")) {
    std::this_thread::sleep_for(Millis(5));
  }
  const auto refused = log->OpenWorker({.group = "g"});
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.status().code(), StatusCode::kAlreadyExists);
  EXPECT_NE(refused.status().message().find("pid " + std::to_string(other)), std::string::npos)
      << refused.status().message();
  kill(other, SIGKILL);
  ExitCode(other);
  EXPECT_TRUE(log->OpenWorker({.group = "g"}).ok());
}

TEST(LocalLogProcesses, AnAppendElsewhereWakesAWaitingReader) {
  TempDir dir;
  auto log = OpenLogWithTopics(dir.path());
  auto reader = log->NewReader();
  ASSERT_TRUE(reader.ok());
  std::vector<Reader::Start> starts;
  for (std::int32_t p = 0; p < 4; ++p) starts.push_back({{kRequests, p}, Offset(0)});
  ASSERT_TRUE((*reader)->Assign(starts).ok());
  RecordBatch batch;
  PollLimits limits;
  limits.max_wait = Millis(0);
  std::atomic<MonoTime> exited{MonoTime{}};
  const pid_t other = Start("append-one", dir.path());
  std::thread waiter([&] {
    EXPECT_EQ(ExitCode(other), 0);
    exited = SystemClock().Now();
  });
  limits.max_wait = Millis(60'000);
  ASSERT_TRUE((*reader)->Poll(limits, &batch).ok());
  const MonoTime read = SystemClock().Now();
  waiter.join();
  ASSERT_EQ(batch.records.size(), 1u);
  EXPECT_EQ(batch.records[0].value, "late");
  // The fallback alone would be up to 500 ms late; the other process ends right after its append.
  EXPECT_LT(read - exited.load(), Millis(100));
}

TEST(LocalLogProcesses, TwoProducersAndAReaderLoseNothing) {
  TempDir dir;
  auto log = OpenLogWithTopics(dir.path());
  const pid_t a = Start("produce-a", dir.path());
  const pid_t b = Start("produce-b", dir.path());
  auto worker = log->OpenWorker({.group = "g"});
  ASSERT_TRUE(worker.ok());
  NotingListener listener;
  ASSERT_TRUE(worker->source->Start(&listener).ok());
  RecordBatch batch;
  std::map<std::int32_t, std::int64_t> next;
  std::map<std::string, int> next_of;
  int seen = 0;
  const MonoTime give_up = SystemClock().Now() + Millis(120'000);
  while (seen < 2 * kProducedByEach && SystemClock().Now() < give_up) {
    ASSERT_TRUE(worker->source->Poll({}, &batch).ok());
    for (const Record& record : batch.records) {
      ASSERT_EQ(record.offset.value(), next[record.slot.value()]++);
      const std::string key(record.key);
      ASSERT_EQ(record.value, key + ":" + std::to_string(next_of[key]++));
      ++seen;
    }
  }
  EXPECT_EQ(ExitCode(a), 0);
  EXPECT_EQ(ExitCode(b), 0);
  EXPECT_EQ(next_of, (std::map<std::string, int>{{"produce-a", kProducedByEach},
                                                 {"produce-b", kProducedByEach}}));
}

// A small file system of its own, and what fills it.
class SmallDisk {
 public:
  SmallDisk() {
    mounted_ = mount("tmpfs", dir_.path().c_str(), "tmpfs", 0, "size=4m") == 0;
    if (!mounted_) why_ = std::strerror(errno);
  }
  ~SmallDisk() {
    if (mounted_) umount2(dir_.path().c_str(), MNT_DETACH);
  }
  bool mounted() const { return mounted_; }
  const std::string& why() const { return why_; }
  const std::string& path() const { return dir_.path(); }
  void Fill() {
    std::ofstream ballast(path() + "/ballast", std::ios::binary);
    const std::string block(4096, 'b');
    while (ballast.write(block.data(), static_cast<std::streamsize>(block.size())).flush()) {
    }
  }
  void Free() { std::filesystem::remove(path() + "/ballast"); }

 private:
  TempDir dir_;
  std::string why_;
  bool mounted_ = false;
};

TEST(LocalLogDisk, AFullDiskIsARetryAndGoesOnWhenSpaceIsFreed) {
  SmallDisk disk;
  if (!disk.mounted()) GTEST_SKIP() << "cannot mount a small tmpfs (root only): " << disk.why();
  auto log = OpenLogWithTopics(disk.path());
  auto worker = log->OpenWorker({.group = "g"});
  ASSERT_TRUE(worker.ok());
  auto producer = log->NewProducer();
  ASSERT_TRUE(producer.ok());
  disk.Fill();
  UnitBuilder unit;
  const std::string value(2000, 'v');
  for (int i = 0; i < 200; ++i) {
    unit.Output(OutputTopic::kResults, "r" + std::to_string(i), value);
  }
  unit.Position(0, 0);
  for (int attempt = 0; attempt < 3; ++attempt) {
    const CommitResult failed = worker->committer->Commit(unit.unit());
    ASSERT_EQ(failed.outcome, CommitOutcome::kRetry) << failed.status.ToString();
    EXPECT_EQ(failed.status.code(), StatusCode::kResourceExhausted) << failed.status.ToString();
    EXPECT_NE(failed.status.message().find(disk.path()), std::string::npos);
    EXPECT_NE(failed.status.message().find("free space"), std::string::npos);
  }
  const std::vector<ProducerRecord> records(100, Keyed("k", value));
  EXPECT_EQ((*producer)->Append(kRequests, records).code(), StatusCode::kResourceExhausted);
  disk.Free();
  EXPECT_TRUE(ReadAll(*log, kResults).empty());
  const CommitResult result = worker->committer->Commit(unit.unit());
  EXPECT_EQ(result.outcome, CommitOutcome::kCommitted) << result.status.ToString();
  EXPECT_EQ(ReadAll(*log, kResults).size(), 200u);
  EXPECT_TRUE((*producer)->Append(kRequests, records).ok());
  EXPECT_EQ(ReadAll(*log, kRequests).size(), 100u);
}

TEST(LocalLogDisk, TheWalStaysShortUnderReadersAndWritersThatNeverRest) {
  TempDir dir;
  auto log = OpenLogWithTopics(dir.path());
  auto producer = log->NewProducer();
  ASSERT_TRUE(producer.ok());
  std::atomic<bool> done{false};
  std::thread reader_thread([&] {
    auto reader = log->NewReader();
    EXPECT_TRUE(reader.ok());
    std::vector<Reader::Start> starts;
    for (std::int32_t p = 0; p < 4; ++p) starts.push_back({{kRequests, p}, Offset(0)});
    RecordBatch batch;
    while (!done) {
      EXPECT_TRUE((*reader)->Assign(starts).ok());
      EXPECT_TRUE((*reader)->Poll({}, &batch).ok());
    }
  });
  const std::string value(4000, 'v');
  const std::vector<ProducerRecord> records(1000, Keyed("k", value));
  std::uintmax_t longest = 0;
  for (int i = 0; i < 60; ++i) {  // 240 MB.
    ASSERT_TRUE((*producer)->Append(kRequests, records).ok());
    longest = std::max(longest, std::filesystem::file_size(dir.path() + "/log.db-wal"));
  }
  done = true;
  reader_thread.join();
  EXPECT_LT(longest, 200u << 20);
}

}  // namespace
}  // namespace millrace::local
