// AWS Signature Version 4, as S3 and its likenesses want it in the headers of a request.
//
// Our own and not libcurl's, because what libcurl signs differs between the releases that a system
// may have: how a path is encoded, which headers count, whether the payload's digest is sent. Pure;
// any thread.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"

namespace millrace {

struct AwsCredentials {
  std::string access_key;  // Empty: sign nothing.
  std::string secret_key;
  std::string session_token;
  WallMillis expires = 0;  // 0: never.
};

struct AwsRequest {
  std::string method = "GET";
  std::string host;  // As in the Host header, with the port if it is sent.
  std::string path;  // Percent-encoded, as it is sent.
  std::string region;
  std::string service = "s3";
  // Of a request without body, what else is sent: names in lower case.
  std::vector<std::pair<std::string, std::string>> headers;
};

// All headers to send, "name: value" each: those of `request` and, unless the credentials are
// empty, x-amz-date, x-amz-content-sha256, x-amz-security-token and authorization.
std::vector<std::string> SignedHeaders(const AwsRequest& request, const AwsCredentials& credentials,
                                       WallMillis now);

}  // namespace millrace
