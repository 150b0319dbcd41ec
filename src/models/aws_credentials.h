// AwsCredentialChain: with whose key requests to an S3-compatible store are signed.
//
// The first of these that is there, as AWS's own tools have it: the settings under repository.s3;
// AWS_ACCESS_KEY_ID and its companions; a web identity (AWS_WEB_IDENTITY_TOKEN_FILE and
// AWS_ROLE_ARN), exchanged at STS; the container's credentials (AWS_CONTAINER_CREDENTIALS_*); the
// instance's, by IMDSv2. Temporary ones are kept until shortly before they end. Where a source is
// configured and fails, the next one is not tried: it would be somebody else's key.
//
// Get blocks while it asks. Any thread.
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <string>

#include "base/clock.h"
#include "base/status.h"
#include "models/aws_signature.h"
#include "models/http_fetch.h"
#include "models/options.h"

namespace millrace {

// The value of an environment variable; empty when it is not set.
using EnvironmentReader = std::function<std::string(const char* name)>;
std::string ProcessVariable(const char* name);

// Settings, else the environment, else what AWS's own tools assume.
std::string S3Region(const S3Options& options, const EnvironmentReader& variable);
std::string S3Endpoint(const S3Options& options, const EnvironmentReader& variable);

class AwsCredentialChain {
 public:
  // How long before their end temporary credentials are replaced.
  static constexpr Millis kRenewBefore{5 * 60'000};

  // All must outlive the chain.
  AwsCredentialChain(const RepositoryOptions& options, const Clock& clock,
                     const std::atomic<bool>& cancelled, EnvironmentReader variable);

  // Empty ones when requests are to go unsigned. kConfiguration when no source has any.
  Result<AwsCredentials> Get();

 private:
  Result<AwsCredentials> Find();
  Result<AwsCredentials> FromWebIdentity(const std::string& token_file);
  Result<AwsCredentials> FromContainer(std::string url);
  Result<AwsCredentials> FromInstance();
  // The body of a response of status 200, at most kMaxAnswerBytes.
  Result<std::string> Ask(HttpRequest request, Millis connect_timeout);

  const RepositoryOptions& options_;
  const Clock& clock_;
  const std::atomic<bool>& cancelled_;
  const EnvironmentReader variable_;

  std::mutex mutex_;
  AwsCredentials kept_;  // Guarded by mutex_.
  bool has_kept_ = false;
};

// "<name>text</name>" in XML; empty when there is none.
std::string XmlText(std::string_view xml, std::string_view name);
// "name": "text" of a JSON object that has no such name further down; empty when there is none.
std::string JsonText(std::string_view json, std::string_view name);
// 0 when it is no RFC 3339 time in UTC.
WallMillis UtcTime(const std::string& text);

}  // namespace millrace
