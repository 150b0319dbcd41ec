#include "runtime/ort_provider.h"

#include <gtest/gtest.h>
#include <onnxruntime_c_api.h>

#include "runtime/test_support.h"

namespace millrace {
namespace {

bool Has(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

const std::vector<std::string> kCpuBuild = {"AzureExecutionProvider", "CPUExecutionProvider"};
const std::vector<std::string> kGpuBuild = {"TensorrtExecutionProvider", "CUDAExecutionProvider",
                                            "CPUExecutionProvider"};

TEST(CheckProvider, TheCpuIsAlwaysThere) {
  EXPECT_TRUE(CheckProvider(Provider::kCpu, kCpuBuild, "/nowhere").ok());
}

TEST(CheckProvider, ABuildWithoutTheProviderSaysWhatItHasAndWhatToDo) {
  const Status status = CheckProvider(Provider::kCuda, kCpuBuild, "");
  EXPECT_EQ(status.code(), StatusCode::kConfiguration);
  EXPECT_EQ(status.message(),
            "this ONNX Runtime was built without CUDAExecutionProvider, it has "
            "AzureExecutionProvider, CPUExecutionProvider: name a build for GPUs in "
            "runtime.ort_library or MILLRACE_ORT_LIBRARY; without a GPU set the model's provider "
            "to cpu instead of cuda");
  EXPECT_TRUE(Has(CheckProvider(Provider::kTensorRt, kCpuBuild, "").message(),
                  "without TensorrtExecutionProvider"));
}

TEST(CheckProvider, AProvidersLibraryHasToLieBesideTheRuntime) {
  TempFolder folder;
  const auto check = [&folder](Provider provider) {
    return CheckProvider(provider, kGpuBuild, folder.path().string());
  };
  EXPECT_EQ(check(Provider::kCuda).code(), StatusCode::kConfiguration);
  EXPECT_TRUE(Has(check(Provider::kCuda).message(),
                  "there is no " + folder.path().string() + "/libonnxruntime_providers_shared.so"));
  folder.Write("libonnxruntime_providers_shared.so", "");
  folder.Write("libonnxruntime_providers_cuda.so", "");
  EXPECT_TRUE(check(Provider::kCuda).ok()) << check(Provider::kCuda).ToString();
  EXPECT_TRUE(Has(check(Provider::kTensorRt).message(), "libonnxruntime_providers_tensorrt.so"));
}

TEST(PlacementReader, CountsAndNamesTheNodesOfTheCpu) {
  const PlacementReader reader;
  EXPECT_FALSE(reader.placement().known);
  PlacementReader::Hear("Node placements");
  PlacementReader::Hear(" Node(s) placed on [CPUExecutionProvider]. Number of nodes: 2");
  PlacementReader::Hear("  Gather (found)");
  PlacementReader::Hear("  Cast (number)");
  PlacementReader::Hear(" Node(s) placed on [CUDAExecutionProvider]. Number of nodes: 1");
  PlacementReader::Hear("  MatMul (dense)");
  EXPECT_TRUE(reader.placement().known);
  EXPECT_EQ(reader.placement().on_cpu, 2U);
  EXPECT_EQ(reader.placement().Text(), "2 nodes: Gather (found), Cast (number)");
}

TEST(PlacementReader, NamesOnlyTheFirstOfMany) {
  const PlacementReader reader;
  PlacementReader::Hear(" Node(s) placed on [CPUExecutionProvider]. Number of nodes: 100");
  for (int i = 0; i < 100; ++i) PlacementReader::Hear("  Cast (c" + std::to_string(i) + ")");
  EXPECT_EQ(reader.placement().names.size(), NodePlacement::kMaxNames);
  const std::string text = reader.placement().Text();
  EXPECT_TRUE(text.starts_with("100 nodes: Cast (c0), ") && text.ends_with(", ...")) << text;
}

TEST(PlacementReader, AllOnAnotherProviderLeavesNoneToTheCpu) {
  const PlacementReader reader;
  PlacementReader::Hear(" All nodes placed on [CUDAExecutionProvider]. Number of nodes: 5");
  EXPECT_TRUE(reader.placement().known);
  EXPECT_EQ(reader.placement().on_cpu, 0U);
}

TEST(SignalHandlers, AreWhatTheyWereAfterwards) {
  struct sigaction mine {};
  mine.sa_handler = [](int) {};
  struct sigaction before {};
  ASSERT_EQ(::sigaction(SIGTERM, &mine, &before), 0);
  {
    const SignalHandlers kept;
    ::signal(SIGTERM, SIG_IGN);
  }
  struct sigaction after {};
  ASSERT_EQ(::sigaction(SIGTERM, &before, &after), 0);
  EXPECT_EQ(after.sa_handler, mine.sa_handler);
}

// With the library as it is. It has no GPU; what it offers besides the CPU takes no node of these
// models, which is what a provider looks like that cannot run them.
class ProviderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    Result<std::unique_ptr<Engine>> engine = OpenTestOrt();
    ASSERT_TRUE(engine.ok()) << engine.status().ToString();
    engine_ = std::move(engine).value();
    process_ = *OpenOrtProcess({});
    const Result<std::vector<std::string>> available = AvailableProviders(*process_);
    ASSERT_TRUE(available.ok());
    available_ = *available;
  }

  bool Offers(const char* provider) const {
    return std::find(available_.begin(), available_.end(), provider) != available_.end();
  }

  Status LoadOn(Provider provider, bool require_full_offload = false) {
    SessionOptions options;
    options.provider = provider;
    options.require_full_offload = require_full_offload;
    return engine_->Load(TestModelPath("linear/1"), "probe:1", options).status();
  }

  // A session with the provider "AZURE", which every build for the CPU has.
  Status CreateOnIdleProvider(const char* disable_fallback) {
    const OrtApi& api = *process_->api;
    OrtSessionOptions* options = nullptr;
    MILLRACE_RETURN_IF_ERROR(TakeOrtStatus(api, api.CreateSessionOptions(&options)));
    const OrtPtr<OrtSessionOptions> owned(options, {api.ReleaseSessionOptions});
    MILLRACE_RETURN_IF_ERROR(
        TakeOrtStatus(api, api.SetSessionLogSeverityLevel(options, ORT_LOGGING_LEVEL_VERBOSE)));
    MILLRACE_RETURN_IF_ERROR(TakeOrtStatus(
        api, api.SessionOptionsAppendExecutionProvider(options, "AZURE", nullptr, nullptr, 0)));
    MILLRACE_RETURN_IF_ERROR(TakeOrtStatus(
        api,
        api.AddSessionConfigEntry(options, "session.disable_cpu_ep_fallback", disable_fallback)));
    OrtSession* session = nullptr;
    MILLRACE_RETURN_IF_ERROR(
        TakeOrtStatus(api, api.CreateSession(process_->env, TestModelPath("mixed_inputs/1").c_str(),
                                             options, &session)));
    const OrtPtr<OrtSession> made(session, {api.ReleaseSession});
    return {};
  }

  std::unique_ptr<Engine> engine_;
  const OrtProcess* process_ = nullptr;
  std::vector<std::string> available_;
};

TEST_F(ProviderTest, TheFolderOfTheLibraryIsKnown) {
  EXPECT_TRUE(std::filesystem::exists(process_->folder)) << process_->folder;
}

TEST_F(ProviderTest, AProviderThatTheBuildLacksIsAWrongSettingThatNamesTheModel) {
  if (Offers("CUDAExecutionProvider")) GTEST_SKIP() << "this library is a build for GPUs";
  for (const Provider provider : {Provider::kCuda, Provider::kTensorRt}) {
    const Status status = LoadOn(provider);
    EXPECT_EQ(status.code(), StatusCode::kConfiguration);
    EXPECT_TRUE(Has(status.message(), "model probe:1 (")) << status.message();
    EXPECT_TRUE(Has(status.message(), "CPUExecutionProvider")) << status.message();
    EXPECT_EQ(status.message().find('\n'), std::string::npos);
  }
}

TEST_F(ProviderTest, FullOffloadWithoutAProviderIsAWrongSetting) {
  const Status status = LoadOn(Provider::kCpu, true);
  EXPECT_EQ(status.code(), StatusCode::kConfiguration);
  EXPECT_TRUE(Has(status.message(), "require_full_offload")) << status.message();
}

TEST_F(ProviderTest, TheLibraryTellsWhichNodesAreLeftToTheCpu) {
  if (!Offers("AzureExecutionProvider")) GTEST_SKIP() << "this library has no idle provider";
  const PlacementReader reader;
  const Status status = CreateOnIdleProvider("0");
  ASSERT_TRUE(status.ok()) << status.ToString();
  EXPECT_TRUE(reader.placement().known);
  EXPECT_GT(reader.placement().on_cpu, 1U);
}

TEST_F(ProviderTest, TheLibraryRefusesNodesOfTheCpuWhereItIsToldTo) {
  if (!Offers("AzureExecutionProvider")) GTEST_SKIP() << "this library has no idle provider";
  const Status status = CreateOnIdleProvider("1");
  EXPECT_TRUE(RefusedForCpuNodes(status)) << status.ToString();
}

}  // namespace
}  // namespace millrace
