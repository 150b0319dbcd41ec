#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "models/digest.h"
#include "models/repository.h"
#include "runtime/test_support.h"

namespace millrace {
namespace {

ModelVersion Version(const std::string& path, std::string_view engine = kOnnxRuntimeEngine) {
  ModelVersion version;
  version.model_id = "probe";
  version.version = "7";
  version.path = path;
  version.engine = engine;
  return version;
}

bool Has(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

TEST(Sha256OfFile, KnowsTheStandardsExamples) {
  const TempFolder folder;
  const std::string empty = folder.Write("empty", "");
  const std::string abc = folder.Write("abc", "abc");
  const std::string million = folder.Write("million", std::string(1'000'000, 'a'));
  EXPECT_EQ(*Sha256OfFile(empty),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(*Sha256OfFile(abc), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(*Sha256OfFile(million),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256OfFile, NamesTheFileItCannotRead) {
  const Status status = Sha256OfFile("/nowhere/model.onnx").status();
  EXPECT_EQ(status.code(), StatusCode::kNotFound);
  EXPECT_TRUE(Has(status.message(), "/nowhere/model.onnx")) << status.message();
  const TempFolder folder;
  EXPECT_FALSE(Sha256OfFile(folder.path().string()).ok());
}

TEST(LoadModel, CarriesIdVersionAndDigestOfTheFile) {
  Result<std::unique_ptr<Engine>> engine = OpenTestOrt();
  ASSERT_TRUE(engine.ok()) << engine.status().ToString();
  const std::string path = TestModelPath("linear/1");
  auto loaded = LoadModel(**engine, Version(path), {});
  ASSERT_TRUE(loaded.ok()) << loaded.status().ToString();
  const LoadedModel& model = **loaded;
  EXPECT_EQ(model.ref.model_id, "probe");
  EXPECT_EQ(model.ref.version, "7");
  EXPECT_EQ(model.ref.sha256, *Sha256OfFile(path));
  EXPECT_EQ(model.source.path, path);
  EXPECT_EQ(model.session->row_layout().inputs[0].elements, 4U);
  EXPECT_GE(model.load_time.count(), 0);
}

TEST(Sha256Hex, AgreesWithThatOfFilesAndKnowsItsOwnNotation) {
  EXPECT_EQ(Sha256Hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_TRUE(IsSha256(Sha256Hex("")));
  EXPECT_FALSE(IsSha256(Sha256Hex("").substr(1)));
  EXPECT_FALSE(IsSha256(std::string(kSha256Digits, 'A')));
  // RFC 4231, case 2.
  EXPECT_EQ(HexText(HmacSha256("Jefe", "what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

TEST(LoadModel, RefusesAFileThatIsNotTheOneItsManifestNames) {
  Result<std::unique_ptr<Engine>> engine = OpenTestOrt();
  ASSERT_TRUE(engine.ok()) << engine.status().ToString();
  ModelVersion version = Version(TestModelPath("linear/1"));
  version.sha256 = *Sha256OfFile(version.path);
  EXPECT_TRUE(LoadModel(**engine, version, {}).ok());
  version.sha256 = Sha256Hex("another");
  version.manifest_path = "/m/model.yaml";
  const Status status = LoadModel(**engine, version, {}).status();
  EXPECT_EQ(status.code(), StatusCode::kCorruption);
  EXPECT_TRUE(Has(status.message(), "/m/model.yaml")) << status.message();
}

TEST(LoadModel, LoadsEveryModelThatThisVersionOffers) {
  Result<std::unique_ptr<Engine>> engine = OpenTestOrt();
  ASSERT_TRUE(engine.ok()) << engine.status().ToString();
  for (const char* folder :
       {"linear/1", "linear/2", "two_outputs/1", "gather/1", "double/1", "int32/1", "fixed_batch/1",
        "batch1/1", "nonfinite/1", "image/1", "run_shape/1", "run_shape_fixed/1", "two_inputs/1",
        "mixed_inputs/1", "string_input/1", "string_output/1", "zipmap/1", "words/1",
        "words_fixed/1"}) {
    const auto loaded = LoadModel(**engine, Version(TestModelPath(folder)), {});
    EXPECT_TRUE(loaded.ok()) << folder << ": " << loaded.status().ToString();
  }
}

TEST(LoadModel, AMaskMustBeHeeded) {
  Result<std::unique_ptr<Engine>> engine = OpenTestOrt();
  ASSERT_TRUE(engine.ok()) << engine.status().ToString();
  ModelVersion version = Version(TestModelPath("masked_words/1"));
  EXPECT_FALSE((*LoadModel(**engine, version, {}))->session->row_layout().mask.has_value());
  version.mask = "mask";
  auto loaded = LoadModel(**engine, version, {});
  ASSERT_TRUE(loaded.ok()) << loaded.status().ToString();
  EXPECT_EQ((*loaded)->session->row_layout().mask, 1u);
  version.path = TestModelPath("unmasked_words/1");
  loaded = LoadModel(**engine, version, {});
  EXPECT_EQ(loaded.status().code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE(Has(loaded.status().message(), "does not heed its mask 'mask'"))
      << loaded.status().message();
  version.mask = "nosuch";
  EXPECT_EQ(LoadModel(**engine, version, {}).status().code(), StatusCode::kUnsupported);
}

TEST(LoadModel, AModelThatLosesTheBatchFailsItsWarmUpAndNeverServes) {
  Result<std::unique_ptr<Engine>> engine = OpenTestOrt();
  ASSERT_TRUE(engine.ok()) << engine.status().ToString();
  const Status status = LoadModel(**engine, Version(TestModelPath("lost_batch/1")), {}).status();
  EXPECT_FALSE(status.ok());
  EXPECT_TRUE(Has(status.message(), "warm-up")) << status.message();
}

TEST(LoadModel, ErrorsNameModelVersionAndPath) {
  Result<std::unique_ptr<Engine>> engine = OpenTestOrt();
  ASSERT_TRUE(engine.ok()) << engine.status().ToString();
  for (const std::string& path : {TestModelPath("truncated/1"), TestModelPath("sequence/1"),
                                  std::string("/nowhere/model.onnx")}) {
    const Status status = LoadModel(**engine, Version(path), {}).status();
    EXPECT_FALSE(status.ok());
    EXPECT_TRUE(Has(status.message(), "model probe:7 (" + path + "): ")) << status.message();
    EXPECT_EQ(status.message().find("model probe:7", 5), std::string::npos) << status.message();
  }
}

TEST(LoadModel, OnlyAModelThatFailsWithZerosAndWithOnesIsRefused) {
  const TempFolder folder;
  const std::unique_ptr<Engine> engine = NewTestEngine();
  const auto load = [&](const std::string& text) {
    return LoadModel(*engine, Version(folder.Write("model.test", text), kTestEngine), {}).status();
  };
  EXPECT_TRUE(load("fail_value=0\n").ok());
  EXPECT_TRUE(load("fail_value=1\n").ok());
  EXPECT_TRUE(load("fail_value=2\n").ok());
}

// An engine whose models change their file while they load, or fail every run.
class StubbornEngine final : public Engine {
 public:
  explicit StubbornEngine(bool touch) : touch_(touch) {}
  std::string Version() const override { return "stubborn"; }
  Result<std::unique_ptr<Session>> Load(const std::string& path, const std::string&,
                                        const SessionOptions&) override {
    if (touch_) std::ofstream(path, std::ios::app) << "#";
    return std::unique_ptr<Session>(std::make_unique<FailingSession>());
  }

 private:
  class FailingRunner final : public Runner {
   public:
    std::byte* Input(std::size_t) override { return input_.data(); }
    Status Run(std::size_t) override { return {StatusCode::kInvalidArgument, "no row will do"}; }
    std::span<const OutputView> Outputs() const override { return {}; }
    void Terminate() override {}

   private:
    std::array<std::byte, 1024> input_{};
  };
  class FailingSession final : public Session {
   public:
    FailingSession() {
      signature_.inputs.push_back({"x", ElementType::kFloat32, {kDynamicDim}});
      layout_ = RowLayoutOf(signature_.inputs);
    }
    const ModelSignature& signature() const override { return signature_; }
    const RowLayout& row_layout() const override { return layout_; }
    Result<std::unique_ptr<Runner>> NewRunner() override {
      return std::unique_ptr<Runner>(std::make_unique<FailingRunner>());
    }

   private:
    ModelSignature signature_;
    RowLayout layout_;
  };
  const bool touch_;
};

TEST(LoadModel, AModelThatFailsEveryRunIsRefused) {
  const TempFolder folder;
  StubbornEngine engine(false);
  const Status status = LoadModel(engine, Version(folder.Write("m", "x")), {}).status();
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE(Has(status.message(), "no row will do")) << status.message();
  EXPECT_TRUE(Has(status.message(), "zeros")) << status.message();
}

TEST(LoadModel, AFileThatChangesWhileItLoadsIsRefused) {
  const TempFolder folder;
  StubbornEngine engine(true);
  const Status status = LoadModel(engine, Version(folder.Write("m", "x")), {}).status();
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_TRUE(Has(status.message(), "changed while it was loaded")) << status.message();
}

}  // namespace
}  // namespace millrace
