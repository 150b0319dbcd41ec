#include <gtest/gtest.h>

#include <cmath>
#include <thread>

#include "base/clock.h"
#include "runtime/engine.h"
#include "runtime/test_support.h"

namespace millrace {
namespace {

class TestEngineTest : public ::testing::Test {
 protected:
  // Loads `text` as a model and makes a runner of it.
  void Load(const std::string& text, std::int64_t max_rows = 8) {
    SessionOptions options;
    options.max_rows = max_rows;
    Result<std::unique_ptr<Session>> session =
        engine_->Load(folder_.Write("model.test", text), "probe:1", options);
    ASSERT_TRUE(session.ok()) << session.status().ToString();
    session_ = std::move(session).value();
    Result<std::unique_ptr<Runner>> runner = session_->NewRunner();
    ASSERT_TRUE(runner.ok()) << runner.status().ToString();
    runner_ = std::move(runner).value();
  }

  Status LoadError(const std::string& text) {
    return engine_->Load(folder_.Write("model.test", text), "probe:1", {}).status();
  }

  TempFolder folder_;
  std::unique_ptr<Engine> engine_ = NewTestEngine();
  std::unique_ptr<Session> session_;
  std::unique_ptr<Runner> runner_;
};

TEST_F(TestEngineTest, EchoesTheFirstNumbersOfEachRow) {
  Load("# two of three\nelements=3\noutputs=2\nbehaviour=echo\n");
  WriteRow<float>(*session_, *runner_, 0, {1, 2, 3});
  WriteRow<float>(*session_, *runner_, 1, {4, 5, 6});
  ASSERT_TRUE(runner_->Run(2).ok());
  ASSERT_EQ(runner_->Outputs().size(), 1U);
  EXPECT_EQ(runner_->Outputs()[0].row_shape, std::vector<std::int64_t>{2});
  EXPECT_EQ(ReadRow<float>(*runner_, 0, 0), (std::vector<float>{1, 2}));
  EXPECT_EQ(ReadRow<float>(*runner_, 0, 1), (std::vector<float>{4, 5}));
}

TEST_F(TestEngineTest, EchoesRowsOfAnyLength) {
  Load("open=1\nfail_value=13\n");
  EXPECT_TRUE(session_->row_layout().dynamic);
  for (const std::int64_t length : {3, 1, 70'000}) {
    ASSERT_TRUE(runner_->SetRowShape(0, std::vector<std::int64_t>{length}, 2).ok());
    auto* const rows = reinterpret_cast<float*>(runner_->Input(0));
    for (std::int64_t i = 0; i < 2 * length; ++i) rows[i] = static_cast<float>(i + 20);
    ASSERT_TRUE(runner_->Run(2).ok());
    const OutputView& view = runner_->Outputs()[0];
    EXPECT_EQ(view.row_shape, std::vector<std::int64_t>{length});
    EXPECT_EQ(static_cast<const float*>(view.data)[2 * length - 1],
              static_cast<float>(2 * length + 19));
    rows[length] = 13;  // The second row begins with it.
    EXPECT_FALSE(runner_->Run(2).ok());
  }
}

TEST_F(TestEngineTest, EchoesEveryInputType) {
  Load("type=INT64\n");
  WriteRow<std::int64_t>(*session_, *runner_, 0, {1LL << 60});
  ASSERT_TRUE(runner_->Run(1).ok());
  EXPECT_EQ(ReadRow<std::int64_t>(*runner_, 0, 0)[0], 1LL << 60);
  Load("type=FP64\n");
  WriteRow<double>(*session_, *runner_, 0, {0.1});
  ASSERT_TRUE(runner_->Run(1).ok());
  EXPECT_EQ(ReadRow<double>(*runner_, 0, 0)[0], 0.1);
}

TEST_F(TestEngineTest, OneMarkedRowFailsTheWholeBatch) {
  Load("fail_value=13\n");
  for (std::size_t row = 0; row < 4; ++row) {
    WriteRow<float>(*session_, *runner_, row, {static_cast<float>(10 + row)});
  }
  EXPECT_TRUE(runner_->Run(3).ok());
  EXPECT_EQ(runner_->Run(4).code(), StatusCode::kInvalidArgument);
}

TEST_F(TestEngineTest, AnswersNanOnRequest) {
  Load("behaviour=nan\nelements=2\noutputs=2\n");
  ASSERT_TRUE(runner_->Run(1).ok());
  EXPECT_TRUE(std::isnan(ReadRow<float>(*runner_, 0, 0)[1]));
}

TEST_F(TestEngineTest, AHangEndsWhenItIsTerminatedAndTheNextRunWorks) {
  Load("hang_value=15\n");
  WriteRow<float>(*session_, *runner_, 0, {15});
  std::atomic<bool> ended{false};
  std::thread watchdog([this, &ended] {
    // Terminate of a run that has not begun yet does nothing, so it is repeated.
    while (!ended) {
      runner_->Terminate();
      std::this_thread::sleep_for(Millis{1});
    }
  });
  const Status status = runner_->Run(1);
  ended = true;
  watchdog.join();
  EXPECT_EQ(status.code(), StatusCode::kDeadlineExceeded) << status.ToString();
  WriteRow<float>(*session_, *runner_, 0, {1});
  EXPECT_TRUE(runner_->Run(1).ok());
}

TEST_F(TestEngineTest, TerminateBetweenRunsDoesNotStopTheNext) {
  Load("run_us=1000\n");
  runner_->Terminate();
  EXPECT_TRUE(runner_->Run(1).ok());
}

TEST_F(TestEngineTest, TakesTheTimeItWasTold) {
  for (const char* wait : {"sleep", "spin"}) {
    Load(std::string("run_us=4000\nrow_us=1000\nwait=") + wait + "\n");
    const MonoTime start = SystemClock().Now();
    ASSERT_TRUE(runner_->Run(4).ok());
    EXPECT_GE(SystemClock().Now() - start, Micros{8000}) << wait;
  }
}

TEST_F(TestEngineTest, AMarkedRowCrashesTheProcess) {
  Load("crash_value=14\n");
  WriteRow<float>(*session_, *runner_, 0, {14});
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH((void)runner_->Run(1), "");
}

TEST_F(TestEngineTest, WhatItDoesNotUnderstandIsAnErrorWithItsLine) {
  const Status unknown = LoadError("elements=1\nspeed=9\n");
  EXPECT_EQ(unknown.code(), StatusCode::kInvalidArgument);
  EXPECT_NE(unknown.message().find("line 2: 'speed=9'"), std::string::npos) << unknown.message();
  EXPECT_NE(unknown.message().find("model probe:1 ("), std::string::npos) << unknown.message();
  EXPECT_FALSE(LoadError("elements=0\n").ok());
  EXPECT_FALSE(LoadError("elements=1x\n").ok());
  EXPECT_FALSE(LoadError("elements=1\noutputs=2\n").ok());
  EXPECT_FALSE(LoadError("type=INT64\nbehaviour=nan\n").ok());
  EXPECT_EQ(engine_->Load(folder_.path() / "none.test", "none:1", {}).status().code(),
            StatusCode::kNotFound);
}

}  // namespace
}  // namespace millrace
