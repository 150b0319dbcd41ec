#include "pipeline/crash_journal.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <functional>
#include <thread>

#include "runtime/engine_thread.h"
#include "runtime/test_support.h"

namespace millrace {
namespace {

using RowId = CrashJournal::RowId;

RowId Row(std::int64_t offset, std::int32_t partition = 0, WallMillis timestamp = 1000) {
  return {partition, Offset(offset), timestamp};
}

class CrashJournalTest : public ::testing::Test {
 protected:
  // A sanitizer has handlers of its own, which would exit where these tests look for a signal.
  static void SetUpTestSuite() {
    for (const int signal : {SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL}) ::signal(signal, SIG_DFL);
  }

  CrashJournalTest() {
    model_.model_id = "m";
    model_.version = "3";
    model_.sha256 = "abc";
  }

  Result<std::unique_ptr<CrashJournal>> TryOpen(const std::string& topic = "t",
                                                std::size_t places = 2) {
    return CrashJournal::Open(path_, topic, places);
  }
  std::unique_ptr<CrashJournal> Open(const std::string& topic = "t", std::size_t places = 2) {
    auto journal = TryOpen(topic, places);
    EXPECT_TRUE(journal.ok()) << journal.status().ToString();
    return journal.ok() ? std::move(journal).value() : nullptr;
  }

  // How a process ended that opened the journal, entered a run of `rows` and did `end` in it.
  int RunInProcess(const std::vector<RowId>& rows, const std::function<void()>& end,
                   std::size_t places = 2) {
    const pid_t child = ::fork();
    if (child == 0) {
      const rlimit no_core{0, 0};
      ::setrlimit(RLIMIT_CORE, &no_core);
      auto journal = CrashJournal::Open(path_, "t", places);
      if (!journal.ok()) ::_exit(99);
      const auto place = (*journal)->TakePlace();
      std::copy(rows.begin(), rows.end(), place->rows());
      place->Enter(CrashJournal::ModelOf(model_), rows.size());
      end();
      place->Leave();
      ::_exit(0);
    }
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    return status;
  }

  void ExpectSignal(int status, int signal) {
    ASSERT_TRUE(WIFSIGNALED(status)) << status;
    EXPECT_EQ(WTERMSIG(status), signal);
  }

  int CrashesOf(CrashJournal& journal, const RowId& row) {
    const auto suspect = journal.Find(row, model_);
    return suspect.has_value() ? suspect->crashes : 0;
  }

  TempFolder folder_;
  std::string path_ = (folder_.path() / "journal").string();
  ModelRef model_;
};

__attribute__((no_sanitize("address", "undefined"))) void ReadNull() {
  volatile int* volatile nowhere = nullptr;
  static_cast<void>(*nowhere);
}

__attribute__((noinline)) int EatStack(int depth) {
  volatile char frame[4096];
  frame[0] = static_cast<char>(depth);
  return depth == 0 ? frame[0] : EatStack(depth + 1) + frame[0];
}

TEST_F(CrashJournalTest, CrashInARunMakesItsRowsSuspects) {
  ExpectSignal(RunInProcess({Row(4), Row(5, 1)}, [] { std::abort(); }), SIGABRT);
  const auto journal = Open();
  ASSERT_EQ(journal->crashes().size(), 1u);
  EXPECT_EQ(journal->crashes()[0].model, "m:3");
  EXPECT_EQ(journal->crashes()[0].signal, SIGABRT);
  EXPECT_EQ(journal->crashes()[0].rows, 2u);
  EXPECT_EQ(journal->crashes()[0].dead, 0u);
  EXPECT_EQ(journal->suspects(), 2u);
  EXPECT_EQ(CrashesOf(*journal, Row(4)), 1);
  EXPECT_EQ(CrashesOf(*journal, Row(5, 1)), 1);
  EXPECT_EQ(CrashesOf(*journal, Row(5)), 0) << "another partition";
  EXPECT_EQ(CrashesOf(*journal, Row(4, 0, 2000)), 0) << "another record at the same offset";
  ModelRef other = model_;
  other.sha256 = "def";
  EXPECT_FALSE(journal->Find(Row(4), other).has_value()) << "another model file";
}

TEST_F(CrashJournalTest, EverySignalOfAFaultIsSeenAndEndsTheProcessAsItWould) {
  const std::vector<std::pair<int, std::function<void()>>> ways = {
      {SIGSEGV, ReadNull},
      {SIGILL, [] { __builtin_trap(); }},
      {SIGFPE, [] { ::raise(SIGFPE); }},
      {SIGBUS,
       [] {  // Beyond the end of a file.
         void* const page =
             ::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, ::memfd_create("empty", 0), 0);
         static_cast<void>(*static_cast<volatile char*>(page));
       }},
      {SIGSEGV, [] { EatStack(1); }},
  };
  std::int64_t offset = 0;
  for (const auto& [signal, way] : ways) {
    ExpectSignal(RunInProcess({Row(++offset)}, way), signal);
    const auto journal = Open();
    ASSERT_EQ(journal->crashes().size(), 1u) << SignalName(signal) << " " << offset;
    EXPECT_EQ(journal->crashes()[0].signal, signal);
    EXPECT_EQ(CrashesOf(*journal, Row(offset)), 1);
  }
}

TEST_F(CrashJournalTest, SecondCrashMakesARowDeadAndItStaysSo) {
  for (int i = 0; i < 2; ++i) RunInProcess({Row(7)}, [] { std::abort(); });
  for (int i = 0; i < 2; ++i) {
    const auto journal = Open();
    EXPECT_EQ(CrashesOf(*journal, Row(7)), 2);
    EXPECT_EQ(journal->crashes().size(), i == 0 ? 1u : 0u);
    if (i == 0) {
      EXPECT_EQ(journal->crashes()[0].dead, 1u);
    }
  }
}

TEST_F(CrashJournalTest, NobodyIsBlamedForAnEndThatCameFromOutside) {
  const std::vector<std::function<void()>> ways = {
      [] { ::kill(::getpid(), SIGKILL); },
      [] { ::kill(::getpid(), SIGTERM); },
      [] { ::_exit(86); },
      [] {  // A watchdog that sends SIGABRT.
        const pid_t self = ::getpid();
        if (::fork() == 0) {
          ::close_range(3, ~0U, 0);  // Or it would hold the journal's lock for a moment longer.
          ::kill(self, SIGABRT);
          ::_exit(0);
        }
        ::pause();
      },
      [] { std::thread(ReadNull).join(); },  // A fault on a thread that runs no model.
  };
  for (const auto& way : ways) RunInProcess({Row(7)}, way);
  const auto journal = Open();
  EXPECT_TRUE(journal->crashes().empty());
  EXPECT_EQ(journal->suspects(), 0u);
}

TEST_F(CrashJournalTest, ThreadOfAnEngineStandsForTheRunsOfItsModel) {
  for (const char* model : {"m:4", "m:3"}) {
    RunInProcess({Row(7)}, [model] { StartEngineThread(model, ReadNull).join(); });
    const auto journal = Open();
    EXPECT_EQ(CrashesOf(*journal, Row(7)), std::string(model) == "m:3" ? 1 : 0) << model;
  }
}

TEST_F(CrashJournalTest, SuspectsRunIsTheOnlyOneAndIsNotOvertakenForEver) {
  RunInProcess({Row(1)}, [] { std::abort(); });
  const auto journal = Open();
  std::atomic<int> running{0};
  std::atomic<bool> done{false};
  std::vector<std::thread> others;
  for (int i = 0; i < 3; ++i) {
    others.emplace_back([&] {
      while (!done.load()) {
        const CrashJournal::Turn turn(*journal, false);
        running.fetch_add(1);
        std::this_thread::sleep_for(Millis(1));
        running.fetch_sub(1);
      }
    });
  }
  for (int i = 0; i < 20; ++i) {
    const CrashJournal::Turn turn(*journal, true);
    EXPECT_EQ(running.load(), 0);
    std::this_thread::sleep_for(Millis(1));
    EXPECT_EQ(running.load(), 0);
  }
  done = true;
  for (std::thread& other : others) other.join();
}

TEST_F(CrashJournalTest, CrashOutsideARunBlamesNobody) {
  ExpectSignal(RunInProcess({}, [] { std::abort(); }), SIGABRT);
  EXPECT_EQ(Open()->suspects(), 0u);
  const pid_t child = ::fork();
  if (child == 0) {
    const auto journal = CrashJournal::Open(path_, "t", 1).value();
    const auto place = journal->TakePlace();
    place->rows()[0] = Row(1);
    place->Enter(CrashJournal::ModelOf(model_), 1);
    place->Leave();
    ReadNull();
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  ExpectSignal(status, SIGSEGV);
  EXPECT_EQ(Open()->suspects(), 0u);
}

TEST_F(CrashJournalTest, WhoRanAloneOrWasAnsweredIsForgotten) {
  RunInProcess({Row(1), Row(2), Row(3), Row(3, 1)}, [] { std::abort(); });
  {
    const auto journal = Open();
    journal->Clear(journal->Find(Row(2), model_)->index);
    EXPECT_EQ(CrashesOf(*journal, Row(2)), 0);
    journal->ForgetBefore(0, Offset(3));
    EXPECT_EQ(CrashesOf(*journal, Row(1)), 0);
    EXPECT_EQ(CrashesOf(*journal, Row(3)), 1);
    EXPECT_EQ(journal->suspects(), 2u);
    journal->ForgetBefore(0, Offset(3));
    EXPECT_EQ(journal->suspects(), 2u) << "each is forgotten once";
  }
  const auto again = Open();
  EXPECT_EQ(CrashesOf(*again, Row(2)), 0);
  EXPECT_EQ(CrashesOf(*again, Row(3)), 1);
  EXPECT_EQ(CrashesOf(*again, Row(3, 1)), 1);
}

TEST_F(CrashJournalTest, OldestAreForgottenWhenTheTableIsFull) {
  constexpr std::int64_t kRows = static_cast<std::int64_t>(CrashJournal::kMaxRows);
  constexpr std::int64_t kRuns =
      static_cast<std::int64_t>(CrashJournal::kMaxSuspects / CrashJournal::kMaxRows) + 1;
  for (std::int64_t run = 0; run < kRuns; ++run) {
    std::vector<RowId> rows;
    for (std::int64_t i = 0; i < kRows; ++i) rows.push_back(Row(run * kRows + i));
    RunInProcess(rows, [] { std::abort(); });
  }
  const auto journal = Open();
  EXPECT_EQ(journal->suspects(), CrashJournal::kMaxSuspects);
  EXPECT_EQ(CrashesOf(*journal, Row(0)), 0);
  EXPECT_EQ(CrashesOf(*journal, Row(kRows)), 1);
  EXPECT_EQ(CrashesOf(*journal, Row(kRuns * kRows - 1)), 1);
}

TEST_F(CrashJournalTest, TableThatIsFullTakesARunOfOldAndNewRows) {
  constexpr std::int64_t kRows = static_cast<std::int64_t>(CrashJournal::kMaxRows);
  for (std::int64_t run = 0; run < 2; ++run) {
    std::vector<RowId> rows;
    for (std::int64_t i = 0; i < kRows; ++i) rows.push_back(Row(run * kRows + i));
    RunInProcess(rows, [] { std::abort(); });
  }
  // New ones push the oldest out, some of which come later in the same run.
  std::vector<RowId> rows;
  for (std::int64_t i = 0; i < 100; ++i) rows.push_back(Row(1'000'000 + i));
  for (std::int64_t i = 0; i < 100; ++i) rows.push_back(Row(i));
  RunInProcess(rows, [] { std::abort(); });
  const auto journal = Open();
  EXPECT_EQ(journal->suspects(), CrashJournal::kMaxSuspects);
  for (const RowId& row : rows) EXPECT_GE(CrashesOf(*journal, row), 1) << row.offset.value();
}

TEST_F(CrashJournalTest, AnotherTopicEmptiesIt) {
  RunInProcess({Row(1)}, [] { std::abort(); });
  EXPECT_EQ(Open("other")->suspects(), 0u);
  EXPECT_EQ(Open("t")->suspects(), 0u);
}

TEST_F(CrashJournalTest, MoreAndFewerPlacesThanBefore) {
  RunInProcess(
      {Row(1)}, [] { std::abort(); }, 7);
  auto journal = Open("t", 1);
  EXPECT_EQ(CrashesOf(*journal, Row(1)), 1) << "recovered with fewer";
  journal.reset();
  RunInProcess(
      {Row(1)}, [] { std::abort(); }, 40);
  journal = Open("t", 2);
  EXPECT_EQ(CrashesOf(*journal, Row(1)), 2) << "and kept with more";
}

TEST_F(CrashJournalTest, EachThreadHasAPlaceOfItsOwnAndTheLastOneGoesWithout) {
  const auto journal = Open("t", 2);
  const auto mine = journal->TakePlace();
  ASSERT_NE(mine, nullptr);
  std::thread([&] {
    const auto other = journal->TakePlace();
    ASSERT_NE(other, nullptr);
    EXPECT_NE(other->rows(), mine->rows());
  }).join();
  std::thread([&] { EXPECT_NE(journal->TakePlace(), nullptr) << "it was given back"; }).join();
}

TEST_F(CrashJournalTest, FileThatIsNoJournalIsLeftAlone) {
  const std::string text = "kafka:\n  brokers: somewhere:9092\n" + std::string(10'000, '#');
  std::ofstream(path_) << text;
  const Status status = TryOpen().status();
  EXPECT_EQ(status.code(), StatusCode::kConfiguration);
  EXPECT_NE(status.message().find("no crash journal"), std::string::npos) << status.message();
  std::ifstream file(path_);
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(file), {}), text);
}

TEST_F(CrashJournalTest, DamagedJournalIsAnErrorAtStart) {
  Open().reset();
  std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(0, std::ios::end);
  const std::streamoff bytes = file.tellp();
  const std::string noise(static_cast<std::size_t>(bytes) - 64, '\xee');
  file.seekp(64);
  file.write(noise.data(), static_cast<std::streamsize>(noise.size()));
  file.close();
  const Status status = TryOpen().status();
  EXPECT_EQ(status.code(), StatusCode::kConfiguration);
  EXPECT_NE(status.message().find("damaged"), std::string::npos) << status.message();
}

TEST_F(CrashJournalTest, FileThatCannotBeUsedIsAConfigurationError) {
  path_ = (folder_.path() / "missing" / "journal").string();
  EXPECT_EQ(TryOpen().status().code(), StatusCode::kConfiguration);
  path_ = folder_.path().string();
  EXPECT_EQ(TryOpen().status().code(), StatusCode::kConfiguration);
  path_ = "/dev/null";
  EXPECT_EQ(TryOpen().status().code(), StatusCode::kConfiguration);
}

TEST_F(CrashJournalTest, TwoWorkersMayNotShareOne) {
  const auto journal = Open();
  const Status status = TryOpen().status();
  EXPECT_EQ(status.code(), StatusCode::kConfiguration);
  EXPECT_NE(status.message().find("another worker"), std::string::npos) << status.message();
}

TEST_F(CrashJournalTest, LivesInMemoryThatIsInherited) {
  const int fd = ::memfd_create("journal", 0);
  path_ = "/proc/self/fd/" + std::to_string(fd);
  for (int i = 0; i < 2; ++i) RunInProcess({Row(1)}, [] { std::abort(); });
  EXPECT_EQ(CrashesOf(*Open(), Row(1)), 2);
  ::close(fd);
}

}  // namespace
}  // namespace millrace
