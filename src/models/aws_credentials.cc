#include "models/aws_credentials.h"

#include <fmt/format.h>
#include <stdlib.h>

#include <ctime>
#include <initializer_list>
#include <memory>
#include <utility>

#include "models/file_io.h"
#include "models/uri.h"

namespace millrace {
namespace {

constexpr std::size_t kMaxAnswerBytes = 64 << 10;
constexpr std::size_t kMaxTokenBytes = 64 << 10;
constexpr Millis kAskTimeout{10'000};
// Where there is no instance metadata nobody answers at all.
constexpr Millis kInstanceConnectTimeout{1'000};
constexpr const char* kInstanceMetadata = "http://169.254.169.254";
constexpr const char* kContainerCredentials = "http://169.254.170.2";

class TextSink final : public BodySink {
 public:
  Status Begin(const HttpHead&) override { return {}; }
  Status Write(std::string_view bytes) override {
    if (text_.size() + bytes.size() > kMaxAnswerBytes) {
      return {StatusCode::kInternal, "an answer with credentials is too long to be one"};
    }
    text_.append(bytes);
    return {};
  }
  std::string Take() { return std::move(text_); }

 private:
  std::string text_;
};

std::string AwsDomain(const std::string& region) {
  return region.starts_with("cn-") ? ".amazonaws.com.cn" : ".amazonaws.com";
}

std::string FirstOf(const EnvironmentReader& variable, std::initializer_list<const char*> names) {
  for (const char* name : names) {
    if (std::string value = variable(name); !value.empty()) return value;
  }
  return {};
}

// Whether credentials may be asked for there: the operator's own environment names the place, so
// only an unencrypted way out of the host is refused.
Status CheckContainerHost(const std::string& url) {
  const Result<ModelUri> uri = ParseUri(url);
  if (!uri.ok() || uri->kind != ModelUri::Kind::kHttp) {
    return {StatusCode::kConfiguration,
            "AWS_CONTAINER_CREDENTIALS_FULL_URI is no http: or https: URL"};
  }
  const std::string& host = uri->host;
  const bool near = host == "localhost" || host.starts_with("127.") || host == "::1" ||
                    host == "169.254.170.2" || host == "169.254.170.23" || host == "fd00:ec2::23";
  if (uri->tls || near) return {};
  return {StatusCode::kConfiguration,
          "AWS_CONTAINER_CREDENTIALS_FULL_URI would fetch credentials without TLS from " + host};
}

// A link in Kubernetes, and replaced while we run: read anew, its links followed.
Result<std::string> ReadToken(const char* variable, const std::string& path) {
  const std::unique_ptr<char, void (*)(void*)> real(::realpath(path.c_str(), nullptr), ::free);
  if (real == nullptr) {
    return Status(StatusCode::kConfiguration, fmt::format("{}: {} cannot be read", variable, path));
  }
  const Result<std::string> text = ReadSmallFile(real.get(), kMaxTokenBytes);
  if (!text.ok()) return text.status().WithContext(variable);
  return text->substr(0, text->find_last_not_of(" \r\n") + 1);
}

Result<AwsCredentials> FromAnswer(AwsCredentials credentials, const std::string& expires,
                                  const std::string& where) {
  credentials.expires = UtcTime(expires);
  if (!credentials.access_key.empty() && !credentials.secret_key.empty()) return credentials;
  return Status(StatusCode::kConfiguration, where + ": the answer holds no credentials");
}

Result<AwsCredentials> FromJson(const std::string& json, const std::string& where) {
  return FromAnswer({JsonText(json, "AccessKeyId"), JsonText(json, "SecretAccessKey"),
                     JsonText(json, "Token"), 0},
                    JsonText(json, "Expiration"), where);
}

}  // namespace

std::string ProcessVariable(const char* name) {
  const char* value = ::getenv(name);
  return value == nullptr ? "" : value;
}

std::string S3Region(const S3Options& options, const EnvironmentReader& variable) {
  if (!options.region.empty()) return options.region;
  const std::string region = FirstOf(variable, {"AWS_REGION", "AWS_DEFAULT_REGION"});
  return region.empty() ? "us-east-1" : region;
}

std::string S3Endpoint(const S3Options& options, const EnvironmentReader& variable) {
  if (!options.endpoint.empty()) return options.endpoint;
  const std::string endpoint = FirstOf(variable, {"AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"});
  if (!endpoint.empty()) return endpoint;
  const std::string region = S3Region(options, variable);
  return "https://s3." + region + AwsDomain(region);
}

AwsCredentialChain::AwsCredentialChain(const RepositoryOptions& options, const Clock& clock,
                                       const std::atomic<bool>& cancelled,
                                       EnvironmentReader variable)
    : options_(options), clock_(clock), cancelled_(cancelled), variable_(std::move(variable)) {}

Result<AwsCredentials> AwsCredentialChain::Get() {
  const std::lock_guard lock(mutex_);
  const bool fresh =
      has_kept_ && (kept_.expires == 0 || clock_.WallNow() < kept_.expires - kRenewBefore.count());
  if (fresh) return kept_;
  Result<AwsCredentials> found = Find();
  if (found.ok()) {
    kept_ = *found;
    has_kept_ = true;
  }
  return found;
}

Result<AwsCredentials> AwsCredentialChain::Find() {
  const S3Options& s3 = options_.s3;
  if (s3.anonymous) return AwsCredentials{};
  if (!s3.access_key.empty()) {
    if (s3.secret_key.empty()) {
      return Status(StatusCode::kConfiguration,
                    "repository.s3.access_key is set, and neither repository.s3.secret_key nor "
                    "repository.s3.secret_key_file");
    }
    return AwsCredentials{s3.access_key, s3.secret_key, s3.session_token, 0};
  }
  if (const std::string key = variable_("AWS_ACCESS_KEY_ID"); !key.empty()) {
    const std::string secret = variable_("AWS_SECRET_ACCESS_KEY");
    if (secret.empty()) {
      return Status(StatusCode::kConfiguration,
                    "AWS_ACCESS_KEY_ID is set, and AWS_SECRET_ACCESS_KEY is not");
    }
    return AwsCredentials{key, secret, variable_("AWS_SESSION_TOKEN"), 0};
  }
  if (const std::string file = variable_("AWS_WEB_IDENTITY_TOKEN_FILE"); !file.empty()) {
    return FromWebIdentity(file);
  }
  if (const std::string path = variable_("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"); !path.empty()) {
    return FromContainer(kContainerCredentials + path);
  }
  if (const std::string url = variable_("AWS_CONTAINER_CREDENTIALS_FULL_URI"); !url.empty()) {
    MILLRACE_RETURN_IF_ERROR(CheckContainerHost(url));
    return FromContainer(url);
  }
  if (variable_("AWS_EC2_METADATA_DISABLED") != "true") return FromInstance();
  return Status(StatusCode::kConfiguration,
                "no credentials for S3: set repository.s3.access_key and secret_key_file, or the "
                "AWS_* variables, or repository.s3.anonymous");
}

Result<std::string> AwsCredentialChain::Ask(HttpRequest request, Millis connect_timeout) {
  HttpLimits limits;
  limits.connect_timeout = connect_timeout;
  limits.whole = kAskTimeout;
  limits.ca_file = options_.ca_file;
  request.printed = request.url.substr(0, request.url.find('?'));
  // These places are of the operator's own environment, or AWS's fixed ones.
  request.check = [](const sockaddr&) { return Status(); };
  TextSink sink;
  Result<HttpHead> head = HttpSend(request, limits, cancelled_, sink);
  if (!head.ok()) return head.status();
  if (head->status == 200) return sink.Take();
  const std::string code = XmlText(head->error_body, "Code");
  const bool passes = head->status == 429 || head->status >= 500;
  return Status(passes ? StatusCode::kUnavailable : StatusCode::kConfiguration,
                fmt::format("{}: answered {}{}", request.printed, head->status,
                            code.empty() ? "" : " (" + code + ")"));
}

Result<AwsCredentials> AwsCredentialChain::FromWebIdentity(const std::string& token_file) {
  const std::string role = variable_("AWS_ROLE_ARN");
  if (role.empty()) {
    return Status(StatusCode::kConfiguration,
                  "AWS_WEB_IDENTITY_TOKEN_FILE is set, and AWS_ROLE_ARN is not");
  }
  const Result<std::string> token = ReadToken("AWS_WEB_IDENTITY_TOKEN_FILE", token_file);
  if (!token.ok()) return token.status();
  std::string session = variable_("AWS_ROLE_SESSION_NAME");
  if (session.empty()) session = "millrace";
  std::string url = variable_("AWS_ENDPOINT_URL_STS");
  if (url.empty()) {
    const std::string region = S3Region(options_.s3, variable_);
    url = "https://sts." + region + AwsDomain(region);
  }
  HttpRequest request;
  request.method = "POST";
  request.url = url + (url.ends_with('/') ? "" : "/");
  request.headers = {"content-type: application/x-www-form-urlencoded"};
  request.body = fmt::format(
      "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn={}&RoleSessionName={}"
      "&WebIdentityToken={}",
      PercentEncoded(role, false), PercentEncoded(session, false), PercentEncoded(*token, false));
  const Result<std::string> xml = Ask(request, options_.connect_timeout);
  if (!xml.ok()) return xml.status().WithContext("web identity of role " + role);
  return FromAnswer({XmlText(*xml, "AccessKeyId"), XmlText(*xml, "SecretAccessKey"),
                     XmlText(*xml, "SessionToken"), 0},
                    XmlText(*xml, "Expiration"), request.url);
}

Result<AwsCredentials> AwsCredentialChain::FromContainer(std::string url) {
  HttpRequest request;
  request.url = std::move(url);
  std::string token = variable_("AWS_CONTAINER_AUTHORIZATION_TOKEN");
  if (const std::string file = variable_("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"); !file.empty()) {
    Result<std::string> text = ReadToken("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file);
    if (!text.ok()) return text.status();
    token = std::move(*text);
  }
  if (!token.empty()) request.headers.push_back("authorization: " + token);
  const Result<std::string> json = Ask(request, options_.connect_timeout);
  if (!json.ok()) return json.status().WithContext("container credentials");
  return FromJson(*json, "credentials of the container");
}

Result<AwsCredentials> AwsCredentialChain::FromInstance() {
  std::string base = variable_("AWS_EC2_METADATA_SERVICE_ENDPOINT");
  if (base.empty()) base = kInstanceMetadata;
  if (base.ends_with('/')) base.pop_back();
  HttpRequest request;
  request.method = "PUT";
  request.url = base + "/latest/api/token";
  request.headers = {"x-aws-ec2-metadata-token-ttl-seconds: 21600"};
  const Result<std::string> token = Ask(request, kInstanceConnectTimeout);
  if (!token.ok()) {
    return token.status().WithContext(
        "no credentials for S3 in settings or environment, and none of the instance");
  }
  request.method = "GET";
  request.headers = {"x-aws-ec2-metadata-token: " + *token};
  request.url = base + "/latest/meta-data/iam/security-credentials/";
  const Result<std::string> role = Ask(request, kInstanceConnectTimeout);
  if (!role.ok()) return role.status().WithContext("credentials of the instance");
  request.url += PercentEncoded(role->substr(0, role->find('\n')), false);
  const Result<std::string> json = Ask(request, kInstanceConnectTimeout);
  if (!json.ok()) return json.status().WithContext("credentials of the instance");
  return FromJson(*json, "credentials of the instance");
}

std::string XmlText(std::string_view xml, std::string_view name) {
  const std::string open = fmt::format("<{}>", name);
  const std::size_t start = xml.find(open);
  if (start == std::string_view::npos) return {};
  const std::size_t begin = start + open.size();
  const std::size_t end = xml.find('<', begin);
  if (end == std::string_view::npos) return {};
  return std::string(xml.substr(begin, end - begin));
}

std::string JsonText(std::string_view json, std::string_view name) {
  const std::string key = fmt::format("\"{}\"", name);
  std::size_t at = json.find(key);
  if (at == std::string_view::npos) return {};
  at = json.find_first_not_of(" \t\r\n", at + key.size());
  if (at == std::string_view::npos || json[at] != ':') return {};
  at = json.find_first_not_of(" \t\r\n", at + 1);
  if (at == std::string_view::npos || json[at] != '"') return {};
  std::string text;
  for (++at; at < json.size() && json[at] != '"'; ++at) {
    // Keys and tokens are base64, of which some writers escape the slash.
    if (json[at] == '\\' && at + 1 < json.size()) ++at;
    text += json[at];
  }
  return at < json.size() ? text : std::string();
}

WallMillis UtcTime(const std::string& text) {
  std::tm utc{};
  const char* rest = ::strptime(text.c_str(), "%Y-%m-%dT%H:%M:%S", &utc);
  if (rest == nullptr || text.empty() || text.back() != 'Z') return 0;
  return static_cast<WallMillis>(::timegm(&utc)) * 1000;
}

}  // namespace millrace
