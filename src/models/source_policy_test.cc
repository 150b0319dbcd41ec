#include "models/source_policy.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <stdlib.h>

#include <cstring>
#include <filesystem>
#include <fstream>

namespace millrace {
namespace {

SourcePolicy Policy(const std::string& hosts, const std::string& store = "",
                    const std::string& endpoint = "") {
  RepositoryOptions options;
  options.allow_hosts = hosts;
  options.store = store;
  auto policy = SourcePolicy::Make(options, endpoint);
  EXPECT_TRUE(policy.ok()) << policy.status().ToString();
  return std::move(*policy);
}

ModelUri Uri(const std::string& text) {
  auto uri = ParseUri(text);
  EXPECT_TRUE(uri.ok()) << uri.status().ToString();
  return *uri;
}

// Whether `policy` lets a connection for `uri` go to `address`.
bool Connects(const SourcePolicy& policy, const std::string& uri, const std::string& address) {
  const ModelUri parsed = Uri(uri);
  if (!policy.CheckHost(parsed).ok()) return false;
  sockaddr_storage storage{};
  auto* const four = reinterpret_cast<sockaddr_in*>(&storage);
  auto* const six = reinterpret_cast<sockaddr_in6*>(&storage);
  if (::inet_pton(AF_INET, address.c_str(), &four->sin_addr) == 1) {
    four->sin_family = AF_INET;
    four->sin_port = htons(parsed.port);
  } else {
    EXPECT_EQ(::inet_pton(AF_INET6, address.c_str(), &six->sin6_addr), 1) << address;
    six->sin6_family = AF_INET6;
    six->sin6_port = htons(parsed.port);
  }
  return policy.ChecksFor(parsed)(reinterpret_cast<const sockaddr&>(storage)).ok();
}

constexpr const char* kPublic = "93.184.216.34";

TEST(SourcePolicy, RefusesEveryHostThatNoSettingNames) {
  const Status status = Policy("").CheckHost(Uri("https://models.example.com/"));
  EXPECT_EQ(status.code(), StatusCode::kConfiguration);
  EXPECT_NE(status.message().find("repository.allow_hosts"), std::string::npos);
  EXPECT_FALSE(Connects(Policy(""), "http://93.184.216.34/", kPublic));
  EXPECT_FALSE(Connects(Policy("other.com"), "https://models.example.com/", kPublic));
}

TEST(SourcePolicy, TakesNamesSuffixesAndPorts) {
  EXPECT_TRUE(Connects(Policy("Models.Example.com"), "https://models.example.com/", kPublic));
  EXPECT_TRUE(Connects(Policy("a.com, *.example.com"), "https://x.y.example.com/", kPublic));
  EXPECT_FALSE(Connects(Policy("*.example.com"), "https://example.com/", kPublic));
  EXPECT_FALSE(Connects(Policy("*.example.com"), "https://evilexample.com/", kPublic));
  EXPECT_FALSE(Connects(Policy("example.com"), "https://example.com.evil.net/", kPublic));
  EXPECT_TRUE(Connects(Policy("h.com:8443"), "https://h.com:8443/", kPublic));
  EXPECT_FALSE(Connects(Policy("h.com:8443"), "https://h.com/", kPublic));
}

TEST(SourcePolicy, ANameAtASpecialAddressIsRefused) {
  const SourcePolicy policy = Policy("models.example.com");
  for (const char* address : {"127.0.0.1",
                              "10.1.2.3",
                              "172.31.0.1",
                              "192.168.1.1",
                              "169.254.169.254",
                              "0.0.0.0",
                              "100.64.0.1",
                              "224.0.0.1",
                              "255.255.255.255",
                              "192.0.2.1",
                              "198.19.0.1",
                              "::1",
                              "::",
                              "fe80::1",
                              "fd00::1",
                              "fd00:ec2::254",
                              "ff02::1",
                              "::ffff:127.0.0.1",
                              "::ffff:169.254.169.254",
                              "64:ff9b::7f00:1",
                              "2002:7f00:1::",
                              "2001:db8::1",
                              "64:ff9b::a9fe:a9fe",
                              "::127.0.0.1",
                              "fec0::1"}) {
    EXPECT_FALSE(Connects(policy, "https://models.example.com/", address)) << address;
  }
  for (const char* address : {kPublic, "172.32.0.1", "100.128.0.1", "2606:4700::1111",
                              "::ffff:93.184.216.34", "2002:5db8:d822::"}) {
    EXPECT_TRUE(Connects(policy, "https://models.example.com/", address)) << address;
  }
}

TEST(SourcePolicy, AnAddressOrNetworkInTheListIsMeant) {
  EXPECT_TRUE(Connects(Policy("127.0.0.1"), "http://127.0.0.1:9000/", "127.0.0.1"));
  EXPECT_TRUE(Connects(Policy("127.0.0.1:9000"), "http://127.0.0.1:9000/", "127.0.0.1"));
  EXPECT_FALSE(Connects(Policy("127.0.0.1:9000"), "http://127.0.0.1/", "127.0.0.1"));
  EXPECT_TRUE(Connects(Policy("[::1]:9000"), "http://[::1]:9000/", "::1"));
  EXPECT_TRUE(Connects(Policy("10.0.0.0/8"), "http://store.internal/", "10.9.8.7"));
  EXPECT_TRUE(Connects(Policy("fd12::/16"), "http://store.internal/", "fd12::7"));
  EXPECT_FALSE(Connects(Policy("10.0.0.0/8"), "http://store.internal/", "11.0.0.1"));
  EXPECT_FALSE(Connects(Policy("10.0.0.0/8"), "http://store.internal/", kPublic));
  EXPECT_TRUE(Connects(Policy("store.internal,10.0.0.0/8"), "http://store.internal/", kPublic));
}

TEST(SourcePolicy, TheStoresOfSettingsMayBeNearButNotLinkLocal) {
  const SourcePolicy policy =
      Policy("", "https://models.internal/base", "http://minio.internal:9000");
  EXPECT_TRUE(Connects(policy, "https://models.internal/x", "10.0.0.5"));
  EXPECT_TRUE(Connects(policy, "http://minio.internal:9000/b/k", "127.0.0.1"));
  EXPECT_FALSE(Connects(policy, "http://minio.internal:9001/b/k", "10.0.0.5"));
  EXPECT_FALSE(Connects(policy, "http://models.internal/x", "10.0.0.5"));
  EXPECT_FALSE(Connects(policy, "https://models.internal/x", "169.254.169.254"));
  EXPECT_FALSE(Connects(policy, "https://models.internal/x", "fe80::1"));
}

TEST(SourcePolicy, AListThatCannotBeReadIsAnError) {
  for (const char* list : {"10.0.0.0/33", "fd00::/129", "a/8", "h:99999", "http://h", "*.", "*",
                           "a b", "user@h", "h/path", "*.10.0.0.1"}) {
    RepositoryOptions options;
    options.allow_hosts = list;
    EXPECT_EQ(SourcePolicy::Make(options, "").status().code(), StatusCode::kConfiguration) << list;
  }
}

class SourcePolicyFiles : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "policy-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    root_ = std::filesystem::canonical(pattern);
    for (const char* folder : {"models", "shared", "else"}) {
      std::filesystem::create_directory(root_ / folder);
      std::ofstream(root_ / folder / "model.onnx") << folder;
    }
    RepositoryOptions options;
    options.dir = root_ / "models";
    options.allow_dirs = (root_ / "shared").string();
    policy_ = Policy("");
    auto policy = SourcePolicy::Make(options, "");
    ASSERT_TRUE(policy.ok()) << policy.status().ToString();
    policy_ = std::move(*policy);
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  StatusCode Code(const std::filesystem::path& path) {
    return policy_.ResolveFile(path.string()).status().code();
  }

  std::filesystem::path root_;
  SourcePolicy policy_ = Policy("");
};

TEST_F(SourcePolicyFiles, OnlyTheListedFoldersAreOpen) {
  EXPECT_EQ(Code(root_ / "models/model.onnx"), StatusCode::kOk);
  EXPECT_EQ(Code(root_ / "shared/model.onnx"), StatusCode::kOk);
  EXPECT_EQ(Code(root_ / "else/model.onnx"), StatusCode::kConfiguration);
  EXPECT_EQ(Code(root_ / "models/../else/model.onnx"), StatusCode::kConfiguration);
  EXPECT_EQ(Code(root_ / "models/none.onnx"), StatusCode::kNotFound);
  // A name that begins like a listed folder is another folder.
  std::filesystem::create_directory(root_ / "models2");
  std::ofstream(root_ / "models2/model.onnx") << "x";
  EXPECT_EQ(Code(root_ / "models2/model.onnx"), StatusCode::kConfiguration);
}

TEST_F(SourcePolicyFiles, LinksMayNotLeadOut) {
  namespace fs = std::filesystem;
  fs::create_symlink(root_ / "else/model.onnx", root_ / "models/out.onnx");
  fs::create_directory_symlink(root_ / "else", root_ / "models/dir");
  fs::create_symlink(root_ / "models/model.onnx", root_ / "models/in.onnx");
  EXPECT_EQ(Code(root_ / "models/out.onnx"), StatusCode::kConfiguration);
  EXPECT_EQ(Code(root_ / "models/dir/model.onnx"), StatusCode::kConfiguration);
  const auto inside = policy_.ResolveFile((root_ / "models/in.onnx").string());
  ASSERT_TRUE(inside.ok());
  EXPECT_EQ(*inside, (root_ / "models/model.onnx").string());
}

TEST_F(SourcePolicyFiles, OnlyRegularFilesAreModels) {
  EXPECT_EQ(Code(root_ / "models"), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace millrace
