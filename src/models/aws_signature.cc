#include "models/aws_signature.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>

#include "models/digest.h"

namespace millrace {
namespace {

constexpr std::string_view kAlgorithm = "AWS4-HMAC-SHA256";

// 20130524T000000Z
std::string BasicTime(WallMillis now) {
  const auto seconds = static_cast<std::time_t>(now / 1000);
  std::tm utc{};
  ::gmtime_r(&seconds, &utc);
  return fmt::format("{:04}{:02}{:02}T{:02}{:02}{:02}Z", utc.tm_year + 1900, utc.tm_mon + 1,
                     utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec);
}

}  // namespace

std::vector<std::string> SignedHeaders(const AwsRequest& request, const AwsCredentials& credentials,
                                       WallMillis now) {
  std::vector<std::pair<std::string, std::string>> headers = request.headers;
  std::vector<std::string> lines;
  if (credentials.access_key.empty()) {
    for (const auto& [name, value] : headers) lines.push_back(name + ": " + value);
    return lines;
  }
  const std::string time = BasicTime(now);
  const std::string payload = Sha256Hex("");
  headers.emplace_back("x-amz-content-sha256", payload);
  headers.emplace_back("x-amz-date", time);
  if (!credentials.session_token.empty()) {
    headers.emplace_back("x-amz-security-token", credentials.session_token);
  }
  for (const auto& [name, value] : headers) lines.push_back(name + ": " + value);
  headers.emplace_back("host", request.host);  // Sent by whoever sends the request.
  std::sort(headers.begin(), headers.end());

  std::string canonical = request.method + "\n" + request.path + "\n\n";
  std::string names;
  for (const auto& [name, value] : headers) {
    canonical += name + ":" + value + "\n";
    names += (names.empty() ? "" : ";") + name;
  }
  canonical += "\n" + names + "\n" + payload;

  const std::string date = time.substr(0, 8);
  const std::string scope =
      fmt::format("{}/{}/{}/aws4_request", date, request.region, request.service);
  const std::string to_sign =
      fmt::format("{}\n{}\n{}\n{}", kAlgorithm, time, scope, Sha256Hex(canonical));
  std::string key = HmacSha256("AWS4" + credentials.secret_key, date);
  key = HmacSha256(key, request.region);
  key = HmacSha256(key, request.service);
  key = HmacSha256(key, "aws4_request");
  lines.push_back(fmt::format("authorization: {} Credential={}/{}, SignedHeaders={}, Signature={}",
                              kAlgorithm, credentials.access_key, scope, names,
                              HexText(HmacSha256(key, to_sign))));
  return lines;
}

}  // namespace millrace
