#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cmath>
#include <filesystem>
#include <random>
#include <thread>

#include "base/clock.h"
#include "base/thread_name.h"
#include "runtime/engine.h"
#include "runtime/ort_alone.h"
#include "runtime/ort_log.h"
#include "runtime/test_support.h"

namespace millrace {
namespace {

std::atomic<int> g_log_lines{0};

class OrtEngineTest : public ::testing::Test {
 protected:
  void SetUp() override {
    Result<std::unique_ptr<Engine>> engine = OpenTestOrt();
    ASSERT_TRUE(engine.ok()) << engine.status().ToString();
    engine_ = std::move(engine).value();
    g_log_lines = 0;
    SetOrtLogSink([](OrtSeverity, std::string_view) { ++g_log_lines; });
  }
  void TearDown() override { SetOrtLogSink(nullptr); }

  Result<std::unique_ptr<Session>> LoadPath(const std::string& path, std::int64_t max_rows = 64) {
    SessionOptions options;
    options.max_rows = max_rows;
    return engine_->Load(path, "probe:1", options);
  }

  void Load(const std::string& path, std::int64_t max_rows = 64) {
    Result<std::unique_ptr<Session>> session = LoadPath(path, max_rows);
    ASSERT_TRUE(session.ok()) << session.status().ToString();
    runner_.reset();  // It must not outlive its session.
    session_ = std::move(session).value();
    runner_ = NewRunner();
  }

  std::unique_ptr<Runner> NewRunner() {
    Result<std::unique_ptr<Runner>> runner = session_->NewRunner();
    EXPECT_TRUE(runner.ok()) << runner.status().ToString();
    return runner.ok() ? std::move(runner).value() : nullptr;
  }

  std::string RefusalOf(const std::string& folder) {
    const Status status = LoadPath(TestModelPath(folder)).status();
    EXPECT_EQ(status.code(), StatusCode::kUnsupported) << status.ToString();
    EXPECT_EQ(status.message().find('\n'), std::string::npos);
    EXPECT_NE(status.message().find("model probe:1 ("), std::string::npos) << status.message();
    return std::string(status.message());
  }

  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Session> session_;
  std::unique_ptr<Runner> runner_;
};

bool Has(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

TEST_F(OrtEngineTest, SaysItsVersion) {
  EXPECT_TRUE(engine_->Version().starts_with("onnxruntime 1.")) << engine_->Version();
}

TEST_F(OrtEngineTest, ReadsTheSignature) {
  Load(TestModelPath("image/1"));
  const ModelSignature& signature = session_->signature();
  ASSERT_EQ(signature.inputs.size(), 1U);
  EXPECT_EQ(signature.inputs[0].name, "pixels");
  EXPECT_EQ(signature.inputs[0].shape, (std::vector<std::int64_t>{kDynamicDim, 1, 8, 8}));
  ASSERT_EQ(signature.outputs.size(), 1U);
  EXPECT_EQ(signature.outputs[0].name, "sums");
  EXPECT_EQ(signature.fixed_batch, 0);
  EXPECT_EQ(session_->row_layout().inputs[0].row_shape, (std::vector<std::int64_t>{1, 8, 8}));
  EXPECT_EQ(session_->row_layout().inputs[0].elements, 64U);
  EXPECT_EQ(session_->row_layout().bytes, 256U);
}

TEST_F(OrtEngineTest, TheInputIsAlignedForVectorInstructions) {
  Load(TestModelPath("linear/1"));
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(runner_->Input(0)) % 64, 0U);
}

TEST_F(OrtEngineTest, EveryBatchSizeGivesExactAnswers) {
  Load(TestModelPath("linear/1"));
  for (std::size_t rows = 1; rows <= 64; ++rows) {
    for (std::size_t i = 0; i < rows; ++i) {
      const auto x = static_cast<float>(100 * rows + i);
      WriteRow<float>(*session_, *runner_, i, {x, 1, -x, 0});
    }
    ASSERT_TRUE(runner_->Run(rows).ok());
    for (std::size_t i = 0; i < rows; ++i) {
      const auto x = static_cast<float>(100 * rows + i);
      EXPECT_EQ(ReadRow<float>(*runner_, 0, i), std::vector<float>{x + 2 - 3 * x})
          << "row " << i << " of " << rows;
    }
  }
}

// The demo's models: what a row answers must not depend on how many neighbours it has.
TEST_F(OrtEngineTest, ARowAnswersTheSameBitsInEveryBatchSize) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  for (const char* folder : {"cancer-mlp/1", "cancer-gbt/1", "digits-mlp/1"}) {
    Load(DemoModelPath(folder));
    const std::size_t elements = session_->row_layout().inputs[0].elements;
    std::uniform_real_distribution<float> uniform(0, 16);
    std::vector<std::vector<float>> rows(64, std::vector<float>(elements));
    std::vector<std::vector<float>> alone;
    const std::size_t last = session_->signature().outputs.size() - 1;
    for (auto& row : rows) {
      for (float& x : row) x = uniform(random);
      WriteRow(*session_, *runner_, 0, row);
      ASSERT_TRUE(runner_->Run(1).ok());
      alone.push_back(ReadRow<float>(*runner_, last, 0));
    }
    for (std::size_t n = 1; n <= 64; ++n) {
      for (std::size_t i = 0; i < n; ++i) WriteRow(*session_, *runner_, i, rows[i]);
      ASSERT_TRUE(runner_->Run(n).ok());
      for (std::size_t i = 0; i < n; ++i) {
        ASSERT_EQ(ReadRow<float>(*runner_, last, i), alone[i])
            << folder << " row " << i << " of " << n;
      }
    }
  }
}

TEST_F(OrtEngineTest, GivesEveryOutputWithItsOwnTypeAndShape) {
  Load(TestModelPath("two_outputs/1"));
  WriteRow<float>(*session_, *runner_, 0, {1, 2, 3});
  WriteRow<float>(*session_, *runner_, 1, {9, 5, 5});
  WriteRow<float>(*session_, *runner_, 2, {0, 7, 1});
  ASSERT_TRUE(runner_->Run(3).ok());
  ASSERT_EQ(runner_->Outputs().size(), 2U);
  EXPECT_EQ(runner_->Outputs()[0].spec->name, "sum");
  EXPECT_EQ(runner_->Outputs()[0].row_shape, std::vector<std::int64_t>{1});
  EXPECT_EQ(runner_->Outputs()[1].spec->type, ElementType::kInt64);
  EXPECT_TRUE(runner_->Outputs()[1].row_shape.empty());
  EXPECT_EQ(runner_->Outputs()[1].elements_per_row, 1U);
  EXPECT_EQ(ReadRow<float>(*runner_, 0, 1), std::vector<float>{19});
  EXPECT_EQ(ReadRow<std::int64_t>(*runner_, 1, 0), std::vector<std::int64_t>{2});
  EXPECT_EQ(ReadRow<std::int64_t>(*runner_, 1, 1), std::vector<std::int64_t>{0});
  EXPECT_EQ(ReadRow<std::int64_t>(*runner_, 1, 2), std::vector<std::int64_t>{1});
}

TEST_F(OrtEngineTest, TakesDoublesAndWholeNumbers) {
  Load(TestModelPath("double/1"));
  WriteRow<double>(*session_, *runner_, 0, {0.1, -3});
  ASSERT_TRUE(runner_->Run(1).ok());
  EXPECT_EQ(ReadRow<double>(*runner_, 0, 0), (std::vector<double>{0.2, -6}));
  Load(TestModelPath("int32/1"));
  WriteRow<std::int32_t>(*session_, *runner_, 0, {41, -1});
  ASSERT_TRUE(runner_->Run(1).ok());
  EXPECT_EQ(ReadRow<std::int32_t>(*runner_, 0, 0), (std::vector<std::int32_t>{42, 0}));
  Load(TestModelPath("gather/1"));
  WriteRow<std::int64_t>(*session_, *runner_, 0, {7});
  ASSERT_TRUE(runner_->Run(1).ok());
  EXPECT_EQ(ReadRow<float>(*runner_, 0, 0), (std::vector<float>{7, 70}));
}

TEST_F(OrtEngineTest, NonFiniteAnswersComeThroughAsTheyAre) {
  Load(TestModelPath("nonfinite/1"));
  WriteRow<float>(*session_, *runner_, 0, {0, -1});
  ASSERT_TRUE(runner_->Run(1).ok());
  EXPECT_TRUE(std::isinf(ReadRow<float>(*runner_, 0, 0)[0]));
  EXPECT_TRUE(std::isnan(ReadRow<float>(*runner_, 0, 0)[1]));
}

TEST_F(OrtEngineTest, APoisonedRowFailsItsBatchOnlyAndLogsNothing) {
  Load(TestModelPath("gather/1"));
  for (std::size_t i = 0; i < 8; ++i) WriteRow<std::int64_t>(*session_, *runner_, i, {1});
  WriteRow<std::int64_t>(*session_, *runner_, 5, {99});
  const Status status = runner_->Run(8);
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << status.ToString();
  EXPECT_TRUE(Has(status.message(), "idx=99")) << status.message();
  EXPECT_TRUE(Has(status.message(), "model probe:1 (")) << status.message();
  EXPECT_EQ(status.message().find('\n'), std::string::npos);
  EXPECT_EQ(g_log_lines, 0);
  EXPECT_TRUE(runner_->Run(5).ok());
  EXPECT_EQ(ReadRow<float>(*runner_, 0, 4), (std::vector<float>{1, 10}));
}

TEST_F(OrtEngineTest, StaleRowsBehindTheBatchNeverReachTheModel) {
  Load(TestModelPath("gather/1"));
  for (std::size_t i = 0; i < 64; ++i) WriteRow<std::int64_t>(*session_, *runner_, i, {99});
  for (const std::size_t rows : {1U, 3U, 5U, 33U, 50U}) {
    for (std::size_t i = 0; i < rows; ++i) WriteRow<std::int64_t>(*session_, *runner_, i, {2});
    EXPECT_TRUE(runner_->Run(rows).ok()) << rows;
    for (std::size_t i = rows; i < 64; ++i) WriteRow<std::int64_t>(*session_, *runner_, i, {99});
  }
}

TEST_F(OrtEngineTest, AFixedBatchRunsInPiecesAndGivesOneAnswerPerRow) {
  for (const auto& [folder, fixed] : {std::pair{"fixed_batch/1", 4}, std::pair{"batch1/1", 1}}) {
    Load(TestModelPath(folder), 10);
    EXPECT_EQ(session_->signature().fixed_batch, fixed);
    for (std::size_t rows = 1; rows <= 10; ++rows) {
      for (std::size_t i = 0; i < rows; ++i) {
        WriteRow<float>(*session_, *runner_, i, {static_cast<float>(rows), static_cast<float>(i)});
      }
      ASSERT_TRUE(runner_->Run(rows).ok());
      for (std::size_t i = 0; i < rows; ++i) {
        EXPECT_EQ(ReadRow<float>(*runner_, 0, i),
                  (std::vector<float>{2 * static_cast<float>(rows), 2 * static_cast<float>(i)}));
      }
    }
  }
}

// The model answers with as many columns as its largest number says.
TEST_F(OrtEngineTest, ShapesThatOnlyTheRunTellsAreTakenFromIt) {
  for (const char* folder : {"run_shape/1", "run_shape_fixed/1"}) {
    Load(TestModelPath(folder), 7);
    for (const float columns : {2.0F, 3.0F, 1.0F}) {
      for (std::size_t rows = 1; rows <= 7; ++rows) {
        for (std::size_t i = 0; i < rows; ++i) {
          WriteRow<float>(*session_, *runner_, i, {columns, -static_cast<float>(i), 0});
        }
        ASSERT_TRUE(runner_->Run(rows).ok()) << folder;
        const OutputView& view = runner_->Outputs()[0];
        ASSERT_EQ(view.elements_per_row, static_cast<std::size_t>(columns));
        EXPECT_EQ(view.row_shape, std::vector<std::int64_t>{static_cast<std::int64_t>(columns)});
        for (std::size_t i = 0; i < rows; ++i) {
          std::vector<float> want = {columns, -static_cast<float>(i), 0};
          want.resize(view.elements_per_row);
          EXPECT_EQ(ReadRow<float>(*runner_, 0, i), want) << folder << " row " << i;
        }
      }
    }
  }
}

TEST_F(OrtEngineTest, PiecesOfAFixedBatchMustAgreeOnTheShape) {
  Load(TestModelPath("run_shape_fixed/1"), 4);
  for (std::size_t i = 0; i < 4; ++i) {
    WriteRow<float>(*session_, *runner_, i, {i < 2 ? 1.0F : 2.0F, 0, 0});
  }
  const Status status = runner_->Run(4);
  EXPECT_EQ(status.code(), StatusCode::kUnsupported) << status.ToString();
  EXPECT_TRUE(Has(status.message(), "different shapes")) << status.message();
}

TEST_F(OrtEngineTest, AnOutputThatLostTheBatchIsAnErrorAndNotAnotherRowsAnswer) {
  Load(TestModelPath("lost_batch/1"));
  for (std::size_t i = 0; i < 4; ++i) WriteRow<float>(*session_, *runner_, i, {3, 1, 0});
  const Status status = runner_->Run(4);
  EXPECT_FALSE(status.ok());
  EXPECT_TRUE(Has(status.message(), "model probe:1 (")) << status.message();
}

TEST_F(OrtEngineTest, OneSessionServesFourThreads) {
  Load(TestModelPath("linear/2"));
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([this, t, &wrong] {
      const std::unique_ptr<Runner> runner = NewRunner();
      for (std::size_t n = 0; n < 2000; ++n) {
        const std::size_t rows = 1 + n % 64;
        for (std::size_t i = 0; i < rows; ++i) {
          WriteRow<float>(*session_, *runner, i,
                          {static_cast<float>(t), static_cast<float>(n), static_cast<float>(i), 0});
        }
        if (!runner->Run(rows).ok()) ++wrong;
        for (std::size_t i = 0; i < rows; ++i) {
          const auto want = static_cast<float>(static_cast<std::size_t>(t) + 2 * n + 3 * i + 1000);
          if (ReadRow<float>(*runner, 0, i)[0] != want) ++wrong;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST_F(OrtEngineTest, TerminateBetweenRunsDoesNotStopTheNext) {
  Load(TestModelPath("linear/1"));
  runner_->Terminate();
  EXPECT_TRUE(runner_->Run(1).ok());
}

TEST_F(OrtEngineTest, EachInputHasItsOwnRowsInEveryBatchSize) {
  Load(TestModelPath("mixed_inputs/1"));
  ASSERT_EQ(session_->signature().inputs.size(), 3U);
  for (const std::size_t rows : {1U, 3U, 64U}) {
    for (std::size_t i = 0; i < rows; ++i) {
      const auto x = static_cast<float>(i);
      WriteRow<float>(*session_, *runner_, i, {x, 1, 2}, 0);
      WriteRow<std::int64_t>(*session_, *runner_, i, {static_cast<std::int64_t>(10 * i)}, 1);
      WriteRow<bool>(*session_, *runner_, i, {i % 2 == 0}, 2);
    }
    ASSERT_TRUE(runner_->Run(rows).ok());
    for (std::size_t i = 0; i < rows; ++i) {
      const auto x = static_cast<float>(i);
      const std::vector<float> sum = {11 * x, 10 * x + 1, 10 * x + 2};
      EXPECT_EQ(ReadRow<float>(*runner_, 0, i),
                i % 2 == 0 ? sum : std::vector<float>({-sum[0], -sum[1], -sum[2]}))
          << "row " << i << " of " << rows;
    }
  }
}

// The mean of the rows of a table that the words stand for.
TEST_F(OrtEngineTest, RowsOfAnyShapeRunTogetherWithTheirLike) {
  for (const char* folder : {"words/1", "words_fixed/1"}) {
    Load(TestModelPath(folder));
    ASSERT_TRUE(session_->row_layout().inputs[0].dynamic);
    EXPECT_EQ(session_->signature().inputs[0].dim_names[1], "L");
    for (const std::int64_t length : {3, 1, 200, 2}) {
      constexpr std::size_t kRows = 5;
      ASSERT_TRUE(runner_->SetRowShape(0, std::vector<std::int64_t>{length}, kRows).ok());
      auto* const to = reinterpret_cast<std::int64_t*>(runner_->Input(0));
      for (std::int64_t i = 0; i < static_cast<std::int64_t>(kRows) * length; ++i) to[i] = i % 10;
      ASSERT_TRUE(runner_->Run(kRows).ok());
      for (std::size_t row = 0; row < kRows; ++row) {
        double sum = 0;
        for (std::int64_t i = 0; i < length; ++i) {
          sum += static_cast<double>((static_cast<std::int64_t>(row) * length + i) % 10);
        }
        const std::vector<float> mean = ReadRow<float>(*runner_, 0, row);
        ASSERT_EQ(mean.size(), 2U);
        EXPECT_NEAR(mean[0], sum / static_cast<double>(length), 1e-4) << folder << row;
        EXPECT_NEAR(mean[1], 10 * sum / static_cast<double>(length), 1e-3);
      }
    }
  }
}

TEST_F(OrtEngineTest, AStoppedRunSaysSoAndTheNextWorks) {
  Load(DemoModelPath("cancer-gbt/1"), 4096);
  std::atomic<bool> ended{false};
  std::thread watchdog([this, &ended] {
    while (!ended) {
      runner_->Terminate();
      std::this_thread::sleep_for(Micros{500});
    }
  });
  // Terminate wins whenever it falls between two nodes of the graph.
  Status status;
  for (int i = 0; i < 1000 && status.ok(); ++i) status = runner_->Run(4096);
  ended = true;
  watchdog.join();
  EXPECT_EQ(status.code(), StatusCode::kDeadlineExceeded) << status.ToString();
  EXPECT_TRUE(Has(status.message(), "was stopped")) << status.message();
  EXPECT_TRUE(runner_->Run(4096).ok());
}

TEST_F(OrtEngineTest, WhatIsNotOfferedIsNamedWithItsType) {
  const std::string text = RefusalOf("sequence/1");
  EXPECT_TRUE(Has(text, "output 'parts' is seq(tensor(float))")) << text;
  EXPECT_TRUE(Has(text, "later version")) << text;
}

TEST_F(OrtEngineTest, StringsGoInAndOutWhateverTheyHold) {
  Load(TestModelPath("string_input/1"));
  EXPECT_EQ(session_->signature().inputs[0].type, ElementType::kString);
  const std::string long_word(1000, 'x');
  const std::vector<std::string_view> words = {"green", "", "red", std::string_view("re\0d", 4),
                                               long_word};
  const std::vector<float> codes = {2, 0, 1, 0, 0};
  for (std::size_t round = 0; round < 3; ++round) {  // Another run, in other places.
    for (std::size_t i = 0; i < words.size(); ++i) {
      WriteRow<std::string_view>(*session_, *runner_, i, {words[(i + round) % words.size()]});
    }
    ASSERT_TRUE(runner_->Run(words.size()).ok());
    for (std::size_t i = 0; i < words.size(); ++i) {
      EXPECT_EQ(ReadRow<float>(*runner_, 0, i)[0], codes[(i + round) % words.size()]);
    }
  }
  for (const char* folder : {"string_output/1", "string_output_fixed/1"}) {
    Load(TestModelPath(folder));
    for (std::size_t i = 0; i < 5; ++i) {
      const auto x = static_cast<std::int64_t>(i % 3);
      WriteRow<std::int64_t>(*session_, *runner_, i, {x, 2 - x});
    }
    ASSERT_TRUE(runner_->Run(5).ok());
    const std::vector<std::string_view> names = {"?", "one", "two"};
    for (std::size_t i = 0; i < 5; ++i) {
      EXPECT_EQ(ReadRow<std::string_view>(*runner_, 0, i),
                (std::vector<std::string_view>{names[i % 3], names[2 - i % 3]}))
          << folder << ", row " << i;
    }
  }
}

// LogisticRegression over the four corners of a square, the second class where x0 is 1.
TEST_F(OrtEngineTest, AClassifierAnswersWithATensorAndLabelsWhereItHadMaps) {
  Load(TestModelPath("zipmap/1"));
  const ModelSignature& signature = session_->signature();
  ASSERT_EQ(signature.outputs.size(), 2U);
  EXPECT_EQ(signature.outputs[1].name, "output_probability");
  EXPECT_EQ(signature.outputs[1].type, ElementType::kFloat32);
  EXPECT_EQ(signature.outputs[1].shape, (std::vector<std::int64_t>{kDynamicDim, 2}));
  EXPECT_EQ(signature.outputs[1].labels, (std::vector<std::string>{"0", "1"}));
  EXPECT_TRUE(signature.outputs[0].labels.empty());
  WriteRow<float>(*session_, *runner_, 0, {0, 1});
  WriteRow<float>(*session_, *runner_, 1, {1, 0});
  ASSERT_TRUE(runner_->Run(2).ok());
  for (const std::int64_t label : {0, 1}) {
    const auto row = static_cast<std::size_t>(label);
    EXPECT_EQ(ReadRow<std::int64_t>(*runner_, 0, row), std::vector<std::int64_t>{label});
    const std::vector<float> probabilities = ReadRow<float>(*runner_, 1, row);
    EXPECT_GT(probabilities[row], probabilities[1 - row]);
    EXPECT_NEAR(probabilities[0] + probabilities[1], 1, 1e-6);
  }
}

TEST_F(OrtEngineTest, ABrokenFileIsAnErrorOfOneLineWithItsPath) {
  const std::string path = TestModelPath("truncated/1");
  const Status broken = LoadPath(path).status();
  EXPECT_EQ(broken.code(), StatusCode::kInvalidArgument) << broken.ToString();
  EXPECT_TRUE(Has(broken.message(), "model probe:1 (" + path + ")")) << broken.message();
  EXPECT_EQ(broken.message().find('\n'), std::string::npos);
  TempFolder folder;
  EXPECT_FALSE(LoadPath(folder.Write("empty.onnx", "")).ok());
  EXPECT_FALSE(LoadPath(folder.Write("noise.onnx", std::string(1000, '\x5a'))).ok());
  EXPECT_EQ(LoadPath(folder.path() / "none.onnx").status().code(), StatusCode::kNotFound);
}

TEST_F(OrtEngineTest, ABatchTooLargeForMemoryIsRefusedByName) {
  SessionOptions options;
  options.max_rows = 8 << 20;
  Result<std::unique_ptr<Session>> session =
      engine_->Load(DemoModelPath("digits-mlp/1"), "probe:1", options);
  ASSERT_TRUE(session.ok()) << session.status().ToString();
  const Status status = (*session)->NewRunner().status();
  EXPECT_EQ(status.code(), StatusCode::kConfiguration);
  EXPECT_TRUE(Has(status.message(), "max_rows")) << status.message();
}

TEST_F(OrtEngineTest, OneThreadPerModelMeansNoThreadOfTheLibrary) {
  Load(TestModelPath("linear/1"));  // The engine's own thread comes with its first model.
  const std::size_t before = ReadThreadCpu().size();
  ASSERT_GT(before, 1U);
  for (const char* folder : {"cancer-mlp/1", "cancer-gbt/1"}) {
    Load(DemoModelPath(folder));
    ASSERT_TRUE(runner_->Run(64).ok());
    EXPECT_EQ(ReadThreadCpu().size(), before) << folder;
  }
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "the library's own pool is not instrumented: its waits look like races";
#endif
  SessionOptions options;
  options.intra_op_threads = 3;
  auto pooled = engine_->Load(DemoModelPath("cancer-mlp/1"), "probe:1", options);
  ASSERT_TRUE(pooled.ok());
  EXPECT_EQ(ReadThreadCpu().size(), before + 2);
}

TEST_F(OrtEngineTest, TelemetryIsOff) {
  Load(TestModelPath("linear/1"));
  ASSERT_TRUE(runner_->Run(1).ok());
  const char* disabled = std::getenv("ORT_DISABLE_TELEMETRY");
  ASSERT_NE(disabled, nullptr);
  EXPECT_STREQ(disabled, "1");
  const std::string debug_log = "/tmp/mat-debug-" + std::to_string(::getpid()) + ".log";
  EXPECT_FALSE(std::filesystem::exists(debug_log));
  if (const char* home = std::getenv("HOME")) {
    EXPECT_FALSE(std::filesystem::exists(std::string(home) +
                                         "/.cache/Microsoft/DeveloperTools/.onnxruntime"));
  }
}

TEST_F(OrtEngineTest, ASecondLibraryInOneProcessIsRefused) {
  RuntimeOptions options;
  options.ort_library = "/elsewhere/libonnxruntime.so";
  EXPECT_EQ(OpenOnnxRuntime(options).status().code(), StatusCode::kAlreadyExists);
}

TEST_F(OrtEngineTest, TheYardstickMeasuresARate) {
  Load(DemoModelPath("cancer-mlp/1"));
  const Result<OrtAloneRate> rate = MeasureRowsPerSecond(*session_, 32, Millis{20});
  ASSERT_TRUE(rate.ok()) << rate.status().ToString();
  EXPECT_GT(rate->rows_per_second, 100.0);
  EXPECT_GT(rate->cpu_us_per_row, 0.0);
  EXPECT_EQ(rate->rows % 32, 0);
}

}  // namespace
}  // namespace millrace
