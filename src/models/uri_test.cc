#include "models/uri.h"

#include <gtest/gtest.h>

namespace millrace {
namespace {

void ExpectRefused(const std::string& text, const std::string& part) {
  const Result<ModelUri> uri = ParseModelUri(text, "/srv/models");
  ASSERT_FALSE(uri.ok()) << text;
  EXPECT_EQ(uri.status().code(), StatusCode::kInvalidArgument) << text;
  EXPECT_NE(uri.status().message().find(part), std::string::npos) << uri.status().message();
}

TEST(ModelUri, ReadsEachKind) {
  const auto https = ParseModelUri("HTTPS://Models.Example.com:8443/a%20b/model.onnx?sig=x", "");
  ASSERT_TRUE(https.ok()) << https.status().ToString();
  EXPECT_EQ(https->kind, ModelUri::Kind::kHttp);
  EXPECT_TRUE(https->tls);
  EXPECT_EQ(https->host, "models.example.com");
  EXPECT_EQ(https->port, 8443);
  EXPECT_EQ(https->path, "/a%20b/model.onnx");
  EXPECT_EQ(https->Spelled(), "https://models.example.com:8443/a%20b/model.onnx?sig=x");

  const auto s3 = ParseModelUri("s3://bucket/fraud/3 #1/model.onnx", "");
  ASSERT_TRUE(s3.ok()) << s3.status().ToString();
  EXPECT_EQ(s3->bucket, "bucket");
  EXPECT_EQ(s3->path, "/fraud/3 #1/model.onnx");

  const auto file = ParseModelUri("file:///srv/a%20b/model.test", "");
  ASSERT_TRUE(file.ok()) << file.status().ToString();
  EXPECT_EQ(file->path, "/srv/a b/model.test");
  EXPECT_EQ(file->ModelFileName(), "model.test");

  const auto six = ParseModelUri("http://[::1]:8080/m.onnx", "");
  ASSERT_TRUE(six.ok()) << six.status().ToString();
  EXPECT_EQ(six->host, "::1");
  EXPECT_EQ(six->Printed(), "http://[::1]:8080/m.onnx");
}

TEST(ModelUri, AFolderMeansItsModel) {
  for (const char* folder : {"https://h/a/", "s3://bucket/a/", "file:///a/", "/a/", "a/"}) {
    const auto uri = ParseModelUri(folder, "/srv");
    ASSERT_TRUE(uri.ok()) << uri.status().ToString();
    EXPECT_TRUE(uri->path.ends_with("/a/model.onnx")) << uri->path;
    EXPECT_TRUE(uri->Beside("model.yaml").path.ends_with("/a/model.yaml"));
  }
}

TEST(ModelUri, ARelativeOneIsBelowItsBase) {
  EXPECT_EQ(ParseModelUri("f/3/", "s3://bucket/models")->Printed(),
            "s3://bucket/models/f/3/model.onnx");
  EXPECT_EQ(ParseModelUri("f/3/", "https://h/models/")->Printed(),
            "https://h/models/f/3/model.onnx");
  EXPECT_EQ(ParseModelUri("f/3/model.test", "/srv")->Printed(), "/srv/f/3/model.test");
  EXPECT_FALSE(ParseModelUri("f/3/", "").ok());
  for (const char* out : {"../model.onnx", "a/../../model.onnx", "./model.onnx"}) {
    ExpectRefused(out, "'.' or '..'");
  }
  EXPECT_FALSE(ParseModelUri("a/%2e%2e/model.onnx", "https://h/models").ok());
}

TEST(ModelUri, RefusesWhatTwoReadersMightReadDifferently) {
  ExpectRefused("https://user:secret@h/model.onnx", "user name");
  ExpectRefused("https://h@evil/model.onnx", "user name");
  ExpectRefused("https://h/a/../model.onnx", "'.' or '..'");
  ExpectRefused("https://h/a/%2E%2e/model.onnx", "'.' or '..'");
  ExpectRefused("https://h/a/..%2fmodel.onnx", "'.' or '..'");
  ExpectRefused("https://h/model.onnx#x", "fragment");
  ExpectRefused("https://h\\@evil/model.onnx", "user name");
  ExpectRefused("https://h\\evil/model.onnx", "neither a name nor an address");
  ExpectRefused("https:///model.onnx", "no host");
  ExpectRefused("https://h../model.onnx", "cannot be");
  ExpectRefused("https://h:0/model.onnx", "port");
  ExpectRefused("https://h:65536/model.onnx", "port");
  ExpectRefused("https://h:/model.onnx", "port");
  ExpectRefused("http://127.1/model.onnx", "looks like an address");
  ExpectRefused("http://2130706433/model.onnx", "looks like an address");
  ExpectRefused("http://0x7f.0.0.1/model.onnx", "looks like an address");
  ExpectRefused("http://[::1/model.onnx", "never closed");
  ExpectRefused("https://h/a b/model.onnx", "percent-encoded");
  ExpectRefused("https://h/%zz/model.onnx", "hexadecimal");
  ExpectRefused(std::string("https://h/a\r\nX: y/model.onnx"), "control");
  ExpectRefused("https://h/a%0d%0a/model.onnx", "control");
  ExpectRefused("file:///a%00b/model.onnx", "control");
}

TEST(ModelUri, RefusesOtherSchemesAndOtherFiles) {
  ExpectRefused("ftp://h/model.onnx", "scheme 'ftp'");
  ExpectRefused("gopher://h/model.onnx", "scheme 'gopher'");
  ExpectRefused("file://host/model.onnx", "names a host");
  ExpectRefused("data:model.onnx", "neither an absolute path");
  ExpectRefused("https://h/passwd", "names no model file");
  ExpectRefused("/etc/passwd", "names no model file");
  ExpectRefused("s3://b/model.onnx", "bucket");
  ExpectRefused("s3:///model.onnx", "bucket");
  ExpectRefused("", "empty");
  ExpectRefused(std::string(kMaxUriBytes, 'a') + ".onnx", "longer");
}

TEST(ModelUri, PrintsNoQuery) {
  const auto uri = ParseModelUri("https://h/model.onnx?X-Amz-Signature=secret", "");
  ASSERT_TRUE(uri.ok());
  EXPECT_EQ(uri->Printed(), "https://h/model.onnx?...");
  // Nor does an error about one that cannot be read.
  const auto wrong = ParseModelUri("x:/h?secret", "/srv");
  EXPECT_EQ(wrong.status().message().find("secret"), std::string::npos) << wrong.status().message();
}

}  // namespace
}  // namespace millrace
