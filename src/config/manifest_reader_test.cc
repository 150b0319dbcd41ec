#include "config/manifest_reader.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

namespace millrace {
namespace {

class ManifestReaderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "manifest-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  Result<ModelManifest> Read(const std::string& text) {
    const std::string path = folder_ + "/model.yaml";
    std::ofstream(path, std::ios::binary) << text;
    return ReadModelManifest(path);
  }

  void ExpectError(const std::string& text, const std::string& part) {
    const Status status = Read(text).status();
    EXPECT_EQ(status.code(), StatusCode::kConfiguration) << text;
    EXPECT_NE(status.message().find("model.yaml" + part), std::string::npos) << status.message();
  }

  std::string folder_;
};

TEST_F(ManifestReaderTest, ReadsEveryKey) {
  const Result<ModelManifest> manifest = Read(
      "# of the demo\n"
      "description: \"two lines, one\"\n"
      "labels: [malignant, \"benign\", 3]\n"
      "provenance: here\n"
      "engine: test\n");
  ASSERT_TRUE(manifest.ok()) << manifest.status().ToString();
  EXPECT_EQ(manifest->description, "two lines, one");
  EXPECT_EQ(manifest->labels, (std::vector<std::string>{"malignant", "benign", "3"}));
  EXPECT_EQ(manifest->provenance, "here");
  EXPECT_EQ(manifest->engine, "test");
}

TEST_F(ManifestReaderTest, ADigestIsReadAsItIsComparedOrNotAtAll) {
  const std::string digest(64, 'a');
  const Result<ModelManifest> manifest = Read("sha256: " + digest + "\n");
  ASSERT_TRUE(manifest.ok()) << manifest.status().ToString();
  EXPECT_EQ(manifest->sha256, digest);
  for (const std::string& wrong : {std::string(63, 'a'), std::string(65, 'a'), std::string(64, 'A'),
                                   std::string(64, 'g'), std::string()}) {
    ExpectError("sha256: '" + wrong + "'\n", ":1: sha256 is the model file's");
  }
}

TEST_F(ManifestReaderTest, ReadsOutputsAsAMappingOrAText) {
  Result<ModelManifest> manifest =
      Read("threshold: 0.7\noutputs:\n  is_fraud: p[1] >= threshold\n  \"a b\": p\n");
  ASSERT_TRUE(manifest.ok()) << manifest.status().ToString();
  EXPECT_EQ(manifest->outputs, "is_fraud = p[1] >= threshold, \"a b\" = p");
  EXPECT_EQ(manifest->threshold, 0.7);
  manifest = Read("outputs: a = p[0], b = p[1]\n");
  ASSERT_TRUE(manifest.ok()) << manifest.status().ToString();
  EXPECT_EQ(manifest->outputs, "a = p[0], b = p[1]");
  EXPECT_FALSE(manifest->threshold.has_value());
}

TEST_F(ManifestReaderTest, WrongOutputsAreErrorsWithTheirLine) {
  ExpectError("outputs: [a]\n", ":1: outputs is a mapping");
  ExpectError("outputs:\n", ":1: outputs is a mapping");
  ExpectError("outputs:\n  a: b\n  c: {d: e}\n", ":3: outputs is a mapping");
  ExpectError("outputs:\n  a: b\n  a: c\n", ":3: outputs has 'a' twice");
  ExpectError("threshold: high\n", ":1: threshold is a number");
  ExpectError("threshold: .inf\n", ":1: threshold is a number");
  ExpectError("threshold: [0.5]\n", ":1: threshold is a number");
}

TEST_F(ManifestReaderTest, AnEmptyFileSaysNothing) {
  for (const char* text : {"", "# only a comment\n", "---\n"}) {
    const Result<ModelManifest> manifest = Read(text);
    ASSERT_TRUE(manifest.ok()) << manifest.status().ToString();
    EXPECT_EQ(manifest->engine, "");
    EXPECT_TRUE(manifest->labels.empty());
  }
}

TEST_F(ManifestReaderTest, AMisspeltKeyIsAnErrorWithItsLineAndTheNearestName) {
  ExpectError("description: x\nlabel: [a]\n", ":2: unknown key 'label'; did you mean 'labels'");
  ExpectError("weight: 3\n", ":1: unknown key 'weight'");
}

TEST_F(ManifestReaderTest, AValueOfTheWrongKindIsAnErrorWithItsLine) {
  ExpectError("labels: one\n", ":1: labels is a list");
  ExpectError("labels: [[a]]\n", ":1: a label is");
  ExpectError("\ndescription: [a]\n", ":2: description is");
  ExpectError("engine: tensorflow\n", ":1: unknown engine 'tensorflow'");
  ExpectError("- a\n- b\n", ":1: expected keys");
  ExpectError("engine: test\nengine: test\n", ":2: 'engine' is given twice");
}

TEST_F(ManifestReaderTest, BrokenYamlIsAnErrorAndNoException) {
  ExpectError("labels: [a, b\n", ":");
  ExpectError("a: b: c\n", ":1: ");
  ExpectError("\"", ":");
  ExpectError("&a [*a]", ":");
}

TEST_F(ManifestReaderTest, AFileWithoutAnEndIsRefused) {
  ExpectError(std::string(kMaxManifestBytes + 1, '#'), ": cannot be read, or is larger");
}

TEST_F(ManifestReaderTest, AMissingFileIsNotFound) {
  EXPECT_EQ(ReadModelManifest(folder_ + "/none.yaml").status().code(), StatusCode::kNotFound);
}

TEST_F(ManifestReaderTest, TheDemosManifestsAreValid) {
  for (const char* model : {"cancer-mlp", "cancer-gbt", "digits-mlp"}) {
    const Result<ModelManifest> manifest = ReadModelManifest(
        std::string(MILLRACE_SOURCE_DIR) + "/examples/demo/models/" + model + "/1/model.yaml");
    ASSERT_TRUE(manifest.ok()) << manifest.status().ToString();
    EXPECT_GE(manifest->labels.size(), 2U);
    EXPECT_FALSE(manifest->description.empty());
  }
}

}  // namespace
}  // namespace millrace
