#include "models/aws_signature.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "models/aws_credentials.h"

namespace millrace {
namespace {

const AwsCredentials kExample = {"AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
                                 "", 0};
constexpr WallMillis kExampleTime = 1369353600000;  // 2013-05-24T00:00:00Z

std::string Authorization(const std::vector<std::string>& lines) {
  const auto found = std::find_if(lines.begin(), lines.end(), [](const std::string& line) {
    return line.starts_with("authorization: ");
  });
  return found == lines.end() ? "" : *found;
}

// The worked example of a GET with a range in Amazon's documentation of S3.
TEST(AwsSignature, IsThatOfThePublishedExample) {
  AwsRequest request;
  request.host = "examplebucket.s3.amazonaws.com";
  request.path = "/test.txt";
  request.region = "us-east-1";
  request.headers = {{"range", "bytes=0-9"}};
  EXPECT_EQ(Authorization(SignedHeaders(request, kExample, kExampleTime)),
            "authorization: AWS4-HMAC-SHA256 "
            "Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
            "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, "
            "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
}

TEST(AwsSignature, CoversTheSessionTokenAndSendsIt) {
  AwsRequest request;
  request.host = "h";
  request.path = "/b/k";
  request.region = "r";
  AwsCredentials credentials = kExample;
  credentials.session_token = "token";
  const std::vector<std::string> lines = SignedHeaders(request, credentials, kExampleTime);
  EXPECT_NE(std::find(lines.begin(), lines.end(), "x-amz-security-token: token"), lines.end());
  EXPECT_NE(Authorization(lines).find(";x-amz-security-token,"), std::string::npos);
}

TEST(AwsSignature, WithoutCredentialsNothingIsSigned) {
  AwsRequest request;
  request.headers = {{"range", "bytes=5-"}};
  EXPECT_EQ(SignedHeaders(request, {}, kExampleTime),
            (std::vector<std::string>{"range: bytes=5-"}));
}

TEST(AwsCredentialAnswers, AreReadFromXmlAndJson) {
  EXPECT_EQ(XmlText("<a><AccessKeyId>K</AccessKeyId></a>", "AccessKeyId"), "K");
  EXPECT_EQ(XmlText("<a><AccessKeyId>K", "AccessKeyId"), "");
  EXPECT_EQ(XmlText("", "AccessKeyId"), "");
  const std::string json = R"({"Code" : "Success", "Token" : "a\/b+c==", "AccessKeyId":"K"})";
  EXPECT_EQ(JsonText(json, "Token"), "a/b+c==");
  EXPECT_EQ(JsonText(json, "AccessKeyId"), "K");
  EXPECT_EQ(JsonText(json, "SecretAccessKey"), "");
  EXPECT_EQ(JsonText(R"({"Token": 5})", "Token"), "");
  EXPECT_EQ(JsonText(R"({"Token": "cut)", "Token"), "");
  EXPECT_EQ(UtcTime("2013-05-24T00:00:00Z"), kExampleTime);
  EXPECT_EQ(UtcTime("2013-05-24T00:00:00.123Z"), kExampleTime);
  EXPECT_EQ(UtcTime("tomorrow"), 0);
}

TEST(AwsCredentialAnswers, SettingsGoBeforeTheEnvironment) {
  RepositoryOptions options;
  const std::atomic<bool> cancelled{false};
  const EnvironmentReader variable = [](const char* name) -> std::string {
    const std::string wanted = name;
    if (wanted == "AWS_ACCESS_KEY_ID") return "env";
    if (wanted == "AWS_SECRET_ACCESS_KEY") return "env-secret";
    if (wanted == "AWS_REGION") return "eu-west-3";
    return "";
  };
  EXPECT_EQ(AwsCredentialChain(options, SystemClock(), cancelled, variable).Get()->access_key,
            "env");
  EXPECT_EQ(S3Endpoint(options.s3, variable), "https://s3.eu-west-3.amazonaws.com");
  options.s3.access_key = "set";
  AwsCredentialChain half(options, SystemClock(), cancelled, variable);
  EXPECT_EQ(half.Get().status().code(), StatusCode::kConfiguration);
  options.s3.secret_key = "set-secret";
  AwsCredentialChain whole(options, SystemClock(), cancelled, variable);
  EXPECT_EQ(whole.Get()->secret_key, "set-secret");
  options.s3.anonymous = true;
  AwsCredentialChain none(options, SystemClock(), cancelled, variable);
  EXPECT_EQ(none.Get()->access_key, "");
}

}  // namespace
}  // namespace millrace
