#include "models/repository.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <random>

#include "runtime/test_support.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

class RepositoryTest : public ::testing::Test {
 protected:
  // A reader for one-line manifests: "description", "!" for an error, "engine=..." for an engine.
  RepositoryListing Scan() {
    const ManifestReader reader = [](const std::string& path) -> Result<ModelManifest> {
      std::ifstream file(path);
      std::string line;
      std::getline(file, line);
      if (line == "!") return Status(StatusCode::kConfiguration, path + ":1: broken");
      ModelManifest manifest;
      manifest.labels = {"no", "yes"};
      manifest.outputs = "answer = label(p)";
      manifest.threshold = 0.25;
      (line.starts_with("engine=") ? manifest.engine : manifest.description) =
          line.substr(line.starts_with("engine=") ? 7 : 0);
      return manifest;
    };
    Result<RepositoryListing> listing = ScanRepository((folder_.path() / "repo").string(), reader);
    EXPECT_TRUE(listing.ok()) << listing.status().ToString();
    return listing.ok() ? std::move(listing).value() : RepositoryListing();
  }

  void Write(const std::string& name, const std::string& text = "model") {
    folder_.Write("repo/" + name, text);
  }

  static std::vector<std::string> Versions(const RepositoryListing& listing,
                                           const std::string& id) {
    std::vector<std::string> versions;
    const auto found = listing.models.find(id);
    if (found == listing.models.end()) return versions;
    for (const ModelVersion& version : found->second) versions.push_back(version.version);
    return versions;
  }

  static bool Warned(const RepositoryListing& listing, const std::string& path,
                     const std::string& why) {
    return std::any_of(listing.warnings.begin(), listing.warnings.end(), [&](const auto& w) {
      return w.find(path + ":") != std::string::npos && w.find(why) != std::string::npos;
    });
  }

  TempFolder folder_;
};

using Names = std::vector<std::string>;

TEST_F(RepositoryTest, NotesWhichManifestHoldsAndPassesOverItsSignature) {
  Write("m/1/model.onnx");
  Write("m/1/model.yaml", "own");
  Write("m/1/model.yaml.sig", "x");
  Write("m/2/model.onnx");
  Write("m/model.yaml", "shared");
  Write("m/model.yaml.sig", "x");
  Write("bare/1/model.onnx");
  const RepositoryListing listing = Scan();
  EXPECT_TRUE(listing.warnings.empty()) << listing.warnings[0];
  EXPECT_TRUE(listing.models.at("m")[0].manifest_path.ends_with("/repo/m/1/model.yaml"));
  EXPECT_TRUE(listing.models.at("m")[1].manifest_path.ends_with("/repo/m/model.yaml"));
  EXPECT_EQ(listing.models.at("bare")[0].manifest_path, "");
}

TEST(IsValidModelId, FollowsTheContract) {
  for (const char* good : {"a", "1", "cancer-mlp", "A.b_c-9", "0.1"}) {
    EXPECT_TRUE(IsValidModelId(good)) << good;
  }
  for (const char* bad : {"", ".a", "-a", "_a", "a b", "a/b", "a|b", "\xC3\xA4", "a\n", ".."}) {
    EXPECT_FALSE(IsValidModelId(bad)) << bad;
  }
  EXPECT_TRUE(IsValidModelId(std::string(128, 'a')));
  EXPECT_FALSE(IsValidModelId(std::string(129, 'a')));
  EXPECT_FALSE(IsValidModelId(std::string_view("a\0b", 3)));
}

TEST(OlderVersion, NumbersByValueOtherNamesBeforeThem) {
  const Names order = {"backup",
                       "draft",
                       "v2",
                       "0",
                       "01",
                       "1",
                       "2",
                       "10",
                       "18446744073709551616",
                       "28446744073709551616"};
  for (std::size_t i = 0; i < order.size(); ++i) {
    for (std::size_t j = 0; j < order.size(); ++j) {
      EXPECT_EQ(OlderVersion(order[i], order[j]), i < j) << order[i] << " " << order[j];
    }
  }
}

TEST(OlderVersion, SortsAnyMixtureTheSameWay) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  Names names;
  for (int i = 0; i < 200; ++i) {
    std::string name(1 + random() % 3, '0');
    for (char& c : name) c = "0129ab"[random() % 6];
    names.push_back(name);
  }
  Names sorted = names;
  std::sort(sorted.begin(), sorted.end(), OlderVersion);
  std::shuffle(names.begin(), names.end(), random);
  std::sort(names.begin(), names.end(), OlderVersion);
  EXPECT_EQ(names, sorted);
}

TEST_F(RepositoryTest, ListsFoldersAndPlainFilesOldestFirst) {
  Write("cancer/9/model.onnx", "nine");
  Write("cancer/10/model.onnx");
  Write("cancer/draft/model.onnx");
  Write("plain.onnx", "12345");
  const RepositoryListing listing = Scan();
  EXPECT_EQ(listing.warnings, Names{});
  EXPECT_EQ(Versions(listing, "cancer"), (Names{"draft", "9", "10"}));
  EXPECT_EQ(Versions(listing, "plain"), Names{"1"});
  EXPECT_EQ(listing.models.at("plain")[0].bytes, 5);
  EXPECT_EQ(listing.models.at("cancer")[1].bytes, 4);
  EXPECT_EQ(listing.models.at("cancer")[1].engine, "onnxruntime");
  EXPECT_EQ(listing.models.size(), 2U);
}

TEST_F(RepositoryTest, TheVersionsOwnManifestReplacesTheModels) {
  Write("m/1/model.onnx");
  Write("m/2/model.onnx");
  Write("m/2/model.yaml", "of version 2");
  Write("m/model.yaml", "of all");
  const RepositoryListing listing = Scan();
  EXPECT_EQ(listing.warnings, Names{});
  EXPECT_EQ(listing.models.at("m")[0].description, "of all");
  EXPECT_EQ(listing.models.at("m")[1].description, "of version 2");
  EXPECT_EQ(listing.models.at("m")[0].labels, (Names{"no", "yes"}));
  EXPECT_EQ(listing.models.at("m")[0].outputs, "answer = label(p)");
  EXPECT_EQ(listing.models.at("m")[0].threshold, 0.25);
}

TEST_F(RepositoryTest, AVersionWithABrokenManifestIsNotServedAndSaidSo) {
  Write("m/1/model.onnx");
  Write("m/2/model.onnx");
  Write("m/2/model.yaml", "!");
  const RepositoryListing listing = Scan();
  EXPECT_EQ(Versions(listing, "m"), Names{"1"});
  EXPECT_TRUE(Warned(listing, "m/2/model.onnx", "model.yaml:1: broken"));
}

TEST_F(RepositoryTest, ATestModelNamesTheTestEngine) {
  Write("m/1/model.test");
  Write("m/2/model.test");
  Write("m/2/model.yaml", "engine=test");
  Write("m/3/model.onnx");
  Write("m/3/model.yaml", "engine=test");
  Write("m/4/model.onnx");
  Write("m/4/model.test");
  const RepositoryListing listing = Scan();
  EXPECT_EQ(Versions(listing, "m"), (Names{"1", "2"}));
  EXPECT_EQ(listing.models.at("m")[0].engine, "test");
  EXPECT_TRUE(Warned(listing, "m/3/model.yaml", "names engine test"));
  EXPECT_TRUE(Warned(listing, "m/4", "both"));
}

TEST_F(RepositoryTest, WhatIsNotUnderstoodIsReported) {
  Write("good/1/model.onnx");
  Write("README.md");
  Write("bad id/1/model.onnx");
  Write("-x.onnx");
  Write("good/notes.txt");
  Write("good/2/weights.bin");
  Write("good/bad version/model.onnx");
  fs::create_directories(folder_.path() / "repo/empty");
  fs::create_directories(folder_.path() / "repo/good/3/model.onnx");
  const RepositoryListing listing = Scan();
  EXPECT_EQ(Versions(listing, "good"), Names{"1"});
  EXPECT_EQ(listing.models.size(), 1U);
  EXPECT_TRUE(Warned(listing, "README.md", "neither"));
  EXPECT_TRUE(Warned(listing, "bad id", "no model id"));
  EXPECT_TRUE(Warned(listing, "-x.onnx", "no model id"));
  EXPECT_TRUE(Warned(listing, "good/notes.txt", "not a version folder"));
  EXPECT_TRUE(Warned(listing, "good/2", "has no model.onnx"));
  EXPECT_TRUE(Warned(listing, "good/bad version", "is no version"));
  EXPECT_TRUE(Warned(listing, "empty", "has no version folder"));
  EXPECT_TRUE(Warned(listing, "good/3/model.onnx", "not a regular file"));
  EXPECT_EQ(listing.warnings.size(), 8U);
}

TEST_F(RepositoryTest, HiddenNamesArePassedOver) {
  Write(".git/config");
  Write(".m.onnx");
  Write("m/.tmp-2/model.onnx");
  Write("m/1/model.onnx");
  const RepositoryListing listing = Scan();
  EXPECT_EQ(listing.warnings, Names{});
  EXPECT_EQ(Versions(listing, "m"), Names{"1"});
}

TEST_F(RepositoryTest, LinksThatLeaveTheFolderAreRefused) {
  Write("m/1/model.onnx");
  folder_.Write("outside/1/model.onnx", "secret");
  folder_.Write("outside.yaml", "secret");
  // Its real path begins with the repository's own, as text.
  folder_.Write("repo-2/model.onnx", "secret");
  const fs::path repo = folder_.path() / "repo";
  fs::create_directory_symlink(folder_.path() / "outside", repo / "model-link");
  fs::create_symlink(folder_.path() / "outside/1/model.onnx", repo / "file.onnx");
  fs::create_directory_symlink(folder_.path() / "outside/1", repo / "m/2");
  fs::create_directory_symlink(folder_.path() / "repo-2", repo / "m/3");
  Write("m/4/other");
  fs::create_symlink("../../../outside/1/model.onnx", repo / "m/4/model.onnx");
  Write("m/5/model.onnx");
  fs::create_symlink(folder_.path() / "outside.yaml", repo / "m/5/model.yaml");
  fs::create_symlink("nowhere", repo / "m/6");
  const RepositoryListing listing = Scan();
  EXPECT_EQ(listing.models.size(), 1U);
  EXPECT_EQ(Versions(listing, "m"), Names{"1"});
  for (const char* path :
       {"model-link", "file.onnx", "m/2", "m/3", "m/4/model.onnx", "m/5/model.yaml"}) {
    EXPECT_TRUE(Warned(listing, path, "leads out")) << path;
  }
  EXPECT_TRUE(Warned(listing, "m/6", "cannot be followed"));
}

TEST_F(RepositoryTest, LinksInsideTheFolderAreFollowed) {
  Write("m/7/model.onnx");
  fs::create_directory_symlink("7", folder_.path() / "repo/m/stable");
  fs::create_directory_symlink("repo", folder_.path() / "repo-link");
  const RepositoryListing listing = Scan();
  EXPECT_EQ(listing.warnings, Names{});
  EXPECT_EQ(Versions(listing, "m"), (Names{"stable", "7"}));
  const auto no_manifest = [](const std::string&) -> Result<ModelManifest> {
    return ModelManifest();
  };
  const auto linked = ScanRepository((folder_.path() / "repo-link").string(), no_manifest);
  ASSERT_TRUE(linked.ok());
  EXPECT_EQ(Versions(*linked, "m").size(), 2U);
}

TEST_F(RepositoryTest, AFoldersVersionOneGoesBeforeThePlainFile) {
  Write("m/1/model.onnx");
  Write("m.onnx");
  Write("n/2/model.onnx");
  Write("n.onnx");
  const RepositoryListing listing = Scan();
  EXPECT_TRUE(listing.models.at("m")[0].path.ends_with("m/1/model.onnx"));
  EXPECT_TRUE(Warned(listing, "m.onnx", "passed over"));
  EXPECT_EQ(Versions(listing, "n"), (Names{"1", "2"}));
}

TEST_F(RepositoryTest, WarningsAreBounded) {
  for (std::size_t i = 0; i < kMaxScanWarnings + 20; ++i) Write("note" + std::to_string(i));
  const RepositoryListing listing = Scan();
  ASSERT_EQ(listing.warnings.size(), kMaxScanWarnings + 1);
  EXPECT_NE(listing.warnings.back().find("and 20 more"), std::string::npos);
}

TEST_F(RepositoryTest, AMissingFolderSaysWhichAndWhatToSet) {
  const auto no_manifest = [](const std::string&) -> Result<ModelManifest> {
    return ModelManifest();
  };
  for (const std::string& dir : {std::string("/nowhere/models"), folder_.Write("file", "")}) {
    const Status status = ScanRepository(dir, no_manifest).status();
    EXPECT_EQ(status.code(), StatusCode::kNotFound);
    EXPECT_NE(status.message().find(dir), std::string::npos) << status.message();
    EXPECT_NE(status.message().find("--models"), std::string::npos) << status.message();
  }
}

}  // namespace
}  // namespace millrace
