// What sessions and runners hold of memory, and when they give it back.
#include <gtest/gtest.h>
#include <malloc.h>
#include <unistd.h>

#include <array>
#include <fstream>
#include <random>
#include <thread>

#include "base/clock.h"
#include "runtime/test_support.h"

namespace millrace {
namespace {

constexpr double kMib = 1 << 20;

// Without what the test's own allocator keeps of what was freed: the worker's gives it back.
double ResidentMib() {
  ::malloc_trim(0);
  std::ifstream file("/proc/self/statm");
  double size = 0;
  double resident = 0;
  file >> size >> resident;
  return resident * static_cast<double>(::sysconf(_SC_PAGESIZE)) / kMib;
}

class OrtMemoryTest : public ::testing::Test {
 protected:
  void Open(Millis idle_shrink) {
    ASSERT_TRUE(OpenTestOrt().ok());
    RuntimeOptions options;
    options.idle_shrink = idle_shrink;
    Result<std::unique_ptr<Engine>> engine = OpenOnnxRuntime(options);
    ASSERT_TRUE(engine.ok()) << engine.status().ToString();
    engine_ = std::move(engine).value();
  }

  void Load(const std::string& path, std::int64_t max_rows = 64) {
    SessionOptions options;
    options.max_rows = max_rows;
    Result<std::unique_ptr<Session>> session = engine_->Load(path, "probe:1", options);
    ASSERT_TRUE(session.ok()) << session.status().ToString();
    session_ = std::move(session).value();
    Result<std::unique_ptr<Runner>> runner = session_->NewRunner();
    ASSERT_TRUE(runner.ok()) << runner.status().ToString();
    runner_ = std::move(runner).value();
  }

  // Ones, `length` in each row, through `outer`.
  Status RunOnes(std::size_t rows, std::int64_t length) {
    const std::array<std::int64_t, 1> shape = {length};
    MILLRACE_RETURN_IF_ERROR(runner_->SetRowShape(0, shape, rows));
    std::fill_n(reinterpret_cast<float*>(runner_->Input(0)),
                rows * static_cast<std::size_t>(length), 1.0F);
    return runner_->Run(rows);
  }

  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Session> session_;
  std::unique_ptr<Runner> runner_;
};

TEST_F(OrtMemoryTest, WhatALargeBatchNeededIsGivenBackWhenTheModelIsIdle) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the sanitizer keeps freed memory to itself";
#endif
  Open(Millis(100));
  Load(TestModelPath("outer/1"), 8);
  ASSERT_TRUE(RunOnes(1, 8).ok());
  runner_->Done();
  const double before = ResidentMib();
  ASSERT_TRUE(RunOnes(8, 2500).ok());  // 8 x 25 MB of products.
  EXPECT_EQ(ReadRow<float>(*runner_, 0, 7)[0], 2500.0F * 2500.0F);
  runner_->Done();
  const double held = ResidentMib();
  EXPECT_GT(held, before + 150) << "the run needs no memory to speak of: what is tested?";
  double after = held;
  for (int i = 0; i < 100 && after > before + 20; ++i) {
    std::this_thread::sleep_for(Millis(50));
    after = ResidentMib();
  }
  EXPECT_LT(after, before + 20) << "held " << held;
  ASSERT_TRUE(RunOnes(2, 100).ok());  // And it runs on.
  EXPECT_EQ(ReadRow<float>(*runner_, 0, 1)[0], 10000.0F);
}

TEST_F(OrtMemoryTest, AModelThatIsGoneTakesItsMemoryAlong) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the sanitizer keeps freed memory to itself";
#endif
  Open(Millis(100));
  const double before = ResidentMib();
  Load(TestModelPath("outer/1"), 8);
  ASSERT_TRUE(RunOnes(8, 2500).ok());
  runner_.reset();
  session_.reset();
  const double held = ResidentMib();
  EXPECT_GT(held, before + 150) << "the run needs no memory to speak of: what is tested?";
  double after = held;
  for (int i = 0; i < 100 && after > before + 20; ++i) {
    std::this_thread::sleep_for(Millis(50));
    after = ResidentMib();
  }
  EXPECT_LT(after, before + 20) << "held " << held;
}

TEST_F(OrtMemoryTest, RowsThatAreStillLookedAtAreNotTakenAway) {
  Open(Millis(20));
  Load(TestModelPath("run_shape/1"), 8);
  const auto other = session_->NewRunner();
  ASSERT_TRUE(other.ok());
  // As many columns as the largest number says: the library makes the output.
  for (std::size_t row = 0; row < 8; ++row) {
    WriteRow<float>(*session_, *runner_, row, {2, -static_cast<float>(row), 0});
    WriteRow<float>(*session_, **other, row, {2, 1, 0});
  }
  ASSERT_TRUE(runner_->Run(8).ok());
  std::this_thread::sleep_for(Millis(120));
  ASSERT_TRUE((*other)->Run(8).ok());  // Would be given the same memory.
  EXPECT_EQ(ReadRow<float>(*runner_, 0, 7), (std::vector<float>{2, -7}));
}

TEST_F(OrtMemoryTest, ALargeRowsBufferGoesWithItsBatch) {
  Open(Millis(0));
  Load(TestModelPath("words/1"), 1);
  const std::array<std::int64_t, 1> long_row = {4 << 20};  // 32 MiB.
  ASSERT_TRUE(runner_->SetRowShape(0, long_row, 1).ok());
  std::fill_n(reinterpret_cast<std::int64_t*>(runner_->Input(0)), long_row[0], 1);
  ASSERT_TRUE(runner_->Run(1).ok());
  EXPECT_NE(runner_->Input(0), nullptr);
  runner_->Done();
  EXPECT_EQ(runner_->Input(0), nullptr);
  const std::array<std::int64_t, 1> short_row = {4};
  ASSERT_TRUE(runner_->SetRowShape(0, short_row, 1).ok());
  std::fill_n(reinterpret_cast<std::int64_t*>(runner_->Input(0)), 4, 2);
  ASSERT_TRUE(runner_->Run(1).ok());
  EXPECT_EQ(ReadRow<float>(*runner_, 0, 0), (std::vector<float>{2, 20}));
  runner_->Done();
  EXPECT_NE(runner_->Input(0), nullptr);
}

TEST_F(OrtMemoryTest, ARowThatCanNeverFitIsAtFaultItself) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the sanitizer ends the process instead";
#endif
  Open(Millis(0));
  Load(TestModelPath("outer/1"), 1);
  // 4 TB of products of four megabytes of numbers.
  const Status status = RunOnes(1, 1 << 20);
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << status.ToString();
  EXPECT_NE(status.message().find("bytes at once"), std::string_view::npos) << status.message();
  ASSERT_TRUE(RunOnes(1, 3).ok());
  EXPECT_EQ(ReadRow<float>(*runner_, 0, 0)[0], 9.0F);
}

TEST_F(OrtMemoryTest, TenThousandBatchSizesLeaveMemoryFlat) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the sanitizer keeps freed memory to itself";
#endif
  constexpr int kRuns = 10'000;
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  Open(Millis(0));
  for (const bool dynamic : {false, true}) {
    Load(dynamic ? TestModelPath("outer/1") : DemoModelPath("digits-mlp/1"), 256);
    double middle = 0;
    for (int i = 0; i < kRuns; ++i) {
      const std::size_t rows = 1 + random() % 256;
      if (dynamic) {
        ASSERT_TRUE(RunOnes(rows, 1 + static_cast<std::int64_t>(random() % 40)).ok());
      } else {
        ASSERT_TRUE(runner_->Run(rows).ok());
      }
      runner_->Done();
      if (i == kRuns / 2) middle = ResidentMib();
    }
    EXPECT_LT(ResidentMib(), middle + 20) << (dynamic ? "dynamic" : "static");
    runner_.reset();
    session_.reset();
  }
}

TEST_F(OrtMemoryTest, DenormalsAreKeptOrFlushedAsTheModelIsTold) {
  Open(Millis(0));
  for (const Denormals denormals : {Denormals::kKeep, Denormals::kFlush, Denormals::kKeep}) {
    SessionOptions options;
    options.denormals = denormals;
    auto session = engine_->Load(TestModelPath("double/1"), "probe:1", options);
    ASSERT_TRUE(session.ok()) << session.status().ToString();
    auto runner = (*session)->NewRunner();
    ASSERT_TRUE(runner.ok());
    const std::size_t elements = (*session)->row_layout().inputs[0].elements;
    WriteRow<double>(**session, **runner, 0, std::vector<double>(elements, 1e-310));
    ASSERT_TRUE((*runner)->Run(1).ok());
    const double got = ReadRow<double>(**runner, 0, 0)[0];
    EXPECT_EQ(got > 0, denormals == Denormals::kKeep) << got;
    // This thread's own arithmetic is as it was.
    volatile double small = 1e-310;
    EXPECT_GT(small * 2, 0.0);
  }
}

}  // namespace
}  // namespace millrace
