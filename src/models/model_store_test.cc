#include "models/model_store.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdlib.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <memory>

#include "models/digest.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

// Only the key that counts here; config's reader needs YAML.
Result<ModelManifest> ReadManifest(const std::string& path) {
  std::ifstream file(path);
  if (!file) return Status(StatusCode::kNotFound, path + ": cannot be opened");
  ModelManifest manifest;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("sha256: ")) manifest.sha256 = line.substr(8);
  }
  return manifest;
}

std::string Base64(const std::string& bytes) {
  std::string text((bytes.size() + 2) / 3 * 4 + 1, '\0');
  const int size = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                                   reinterpret_cast<const unsigned char*>(bytes.data()),
                                   static_cast<int>(bytes.size()));
  text.resize(static_cast<std::size_t>(size));
  return text;
}

// An Ed25519 key pair, made for the test.
class Signer {
 public:
  Signer() : key_(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"), EVP_PKEY_free) {}

  std::string PublicKey() const {
    std::string raw(32, '\0');
    std::size_t size = raw.size();
    EXPECT_EQ(EVP_PKEY_get_raw_public_key(key_.get(), reinterpret_cast<unsigned char*>(raw.data()),
                                          &size),
              1);
    return Base64(raw);
  }
  void WritePem(const std::string& path) const {
    std::FILE* const file = std::fopen(path.c_str(), "w");
    ASSERT_NE(file, nullptr);
    EXPECT_EQ(PEM_write_PUBKEY(file, key_.get()), 1);
    std::fclose(file);
  }
  std::string Sign(const std::string& message) const {
    std::array<unsigned char, 64> signature{};
    std::size_t size = signature.size();
    const std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context(EVP_MD_CTX_new(),
                                                                     EVP_MD_CTX_free);
    EXPECT_EQ(EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, key_.get()), 1);
    EXPECT_EQ(
        EVP_DigestSign(context.get(), signature.data(), &size,
                       reinterpret_cast<const unsigned char*>(message.data()), message.size()),
        1);
    return Base64({reinterpret_cast<const char*>(signature.data()), size});
  }

 private:
  std::unique_ptr<EVP_PKEY, void (*)(EVP_PKEY*)> key_;
};

class ModelStoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "store-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    root_ = fs::canonical(pattern).string();
    fs::create_directories(root_ + "/models/m/1");
    model_ = root_ + "/models/m/1/model.onnx";
    Write(model_, "a model");
    digest_ = Sha256Hex("a model");
    options_.dir = root_ + "/models";
    options_.cache_dir = root_ + "/cache";
  }
  void TearDown() override { fs::remove_all(root_); }

  static void Write(const std::string& path, const std::string& text) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
  }
  void WriteManifest(const std::string& text, const Signer& signer) {
    Write(root_ + "/models/m/1/model.yaml", text);
    Write(root_ + "/models/m/1/model.yaml.sig", signer.Sign(text) + "\n");
  }
  Result<StoredModel> Fetch(const std::string& uri, const std::string& sha256 = "") {
    ModelStore store(options_, SystemClock(), ReadManifest, [](const char*) { return ""; });
    return store.Fetch({"m", "1", uri, sha256});
  }
  void ExpectRefused(const Result<StoredModel>& result, StatusCode code, const std::string& part) {
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.status().code(), code) << result.status().ToString();
    EXPECT_NE(result.status().message().find(part), std::string::npos) << result.status().message();
  }

  std::string root_;
  std::string model_;
  std::string digest_;
  RepositoryOptions options_;
};

TEST_F(ModelStoreTest, AFileIsUsedWhereItLies) {
  for (const std::string& uri :
       {model_, "file://" + model_, std::string("m/1/"), std::string("m/1/model.onnx")}) {
    const auto stored = Fetch(uri, digest_);
    ASSERT_TRUE(stored.ok()) << stored.status().ToString();
    EXPECT_EQ(stored->path, model_);
    EXPECT_EQ(stored->sha256, digest_);
    EXPECT_EQ(stored->bytes, 7);
    EXPECT_EQ(stored->manifest_path, "");
    EXPECT_FALSE(stored->was_cached);
  }
  EXPECT_FALSE(fs::exists(root_ + "/cache"));
}

TEST_F(ModelStoreTest, AWrongDigestIsRefusedWhoeverNamesIt) {
  ExpectRefused(Fetch(model_, Sha256Hex("another")), StatusCode::kCorruption, "expected");
  ExpectRefused(Fetch(model_, "abc"), StatusCode::kInvalidArgument, "64 hexadecimal");
  Write(root_ + "/models/m/1/model.yaml", "sha256: " + Sha256Hex("another") + "\n");
  ExpectRefused(Fetch(model_), StatusCode::kCorruption, "model.yaml");
  Write(root_ + "/models/m/1/model.yaml", "sha256: " + digest_ + "\n");
  const auto stored = Fetch(model_);
  ASSERT_TRUE(stored.ok()) << stored.status().ToString();
  EXPECT_EQ(stored->manifest_path, root_ + "/models/m/1/model.yaml");
}

TEST_F(ModelStoreTest, TooLargeAndOutsideAreRefused) {
  options_.max_model_bytes = 6;
  ExpectRefused(Fetch(model_), StatusCode::kResourceExhausted, "repository.max_model_bytes");
  options_.max_model_bytes = 7;
  EXPECT_TRUE(Fetch(model_).ok());
  Write(root_ + "/out.onnx", "x");
  ExpectRefused(Fetch(root_ + "/out.onnx"), StatusCode::kConfiguration, "repository.allow_dirs");
  fs::create_symlink(root_ + "/out.onnx", root_ + "/models/link.onnx");
  ExpectRefused(Fetch("link.onnx"), StatusCode::kConfiguration, "outside");
  options_.allow_dirs = root_;
  EXPECT_TRUE(Fetch(root_ + "/out.onnx").ok());
  // A manifest that leads out is as bad as a model that does.
  options_.allow_dirs = "";
  Write(root_ + "/out.yaml", "description: x\n");
  fs::create_symlink(root_ + "/out.yaml", root_ + "/models/m/1/model.yaml");
  ExpectRefused(Fetch(model_), StatusCode::kConfiguration, "outside");
}

TEST_F(ModelStoreTest, RemoteHostsAreRefusedUnlessListed) {
  ExpectRefused(Fetch("https://models.example.com/m/", digest_), StatusCode::kConfiguration,
                "repository.allow_hosts");
  ExpectRefused(Fetch("http://169.254.169.254/latest/model.onnx", digest_),
                StatusCode::kConfiguration, "repository.allow_hosts");
  options_.allow_hosts = "10.0.0.0/40";
  ExpectRefused(Fetch(model_), StatusCode::kConfiguration, "10.0.0.0/40");
}

TEST_F(ModelStoreTest, ASignedModelIsTakenFromEitherNotationOfAKey) {
  const Signer other;
  const Signer signer;
  signer.WritePem(root_ + "/key.pem");
  WriteManifest("sha256: " + digest_ + "\n", signer);
  for (const std::string& key : {signer.PublicKey(), root_ + "/key.pem"}) {
    options_.trusted_keys = other.PublicKey() + ", " + key;
    const auto stored = Fetch(model_);
    EXPECT_TRUE(stored.ok()) << stored.status().ToString();
  }
}

TEST_F(ModelStoreTest, WithKeysEverythingElseIsRefused) {
  const Signer signer;
  const Signer stranger;
  const std::string good = "sha256: " + digest_ + "\n";
  options_.trusted_keys = signer.PublicKey();
  ExpectRefused(Fetch(model_), StatusCode::kCorruption, "there is no model.yaml");
  Write(root_ + "/models/m/1/model.yaml", good);
  ExpectRefused(Fetch(model_), StatusCode::kCorruption, "there is no model.yaml.sig");
  WriteManifest(good, stranger);
  ExpectRefused(Fetch(model_), StatusCode::kCorruption, "by none of");
  WriteManifest(good, signer);
  EXPECT_TRUE(Fetch(model_).ok());
  Write(root_ + "/models/m/1/model.yaml", good + "labels: [a]\n");
  ExpectRefused(Fetch(model_), StatusCode::kCorruption, "by none of");
  WriteManifest("description: no digest\n", signer);
  ExpectRefused(Fetch(model_), StatusCode::kCorruption, "does not name");
  WriteManifest(good, signer);
  Write(model_, "tampered");
  ExpectRefused(Fetch(model_), StatusCode::kCorruption, "SHA-256");
  Write(model_, "a model");
  Write(root_ + "/models/m/1/model.yaml.sig", "not base64!");
  ExpectRefused(Fetch(model_), StatusCode::kCorruption, "base64");
}

TEST_F(ModelStoreTest, VerifySignedIsForTheModelsOfTheRepositoryToo) {
  const Signer signer;
  ModelStore open(options_, SystemClock(), ReadManifest);
  EXPECT_TRUE(open.VerifySigned(model_, "", digest_).ok());
  options_.trusted_keys = signer.PublicKey();
  WriteManifest("sha256: " + digest_ + "\n", signer);
  ModelStore store(options_, SystemClock(), ReadManifest);
  const std::string manifest = root_ + "/models/m/1/model.yaml";
  EXPECT_TRUE(store.VerifySigned(model_, manifest, digest_).ok());
  EXPECT_EQ(store.VerifySigned(model_, manifest, Sha256Hex("x")).code(), StatusCode::kCorruption);
  EXPECT_EQ(store.VerifySigned(model_, "", digest_).code(), StatusCode::kCorruption);
}

TEST_F(ModelStoreTest, AKeyThatIsNoneIsAnErrorOfEveryFetch) {
  for (const char* keys : {"AAAA", "/nonexistent.pem", "not a key"}) {
    options_.trusted_keys = keys;
    ExpectRefused(Fetch(model_, digest_), StatusCode::kConfiguration, "repository.trusted_keys");
  }
}

}  // namespace
}  // namespace millrace
