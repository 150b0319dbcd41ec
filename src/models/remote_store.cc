#include "models/remote_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <thread>

namespace millrace {
namespace {

constexpr Millis kNap{20};
constexpr std::size_t kMaxErrorText = 120;

bool Redirects(long status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

bool MayPass(long status) { return status == 408 || status == 429 || status >= 500; }

Status Refusal(const ModelUri& uri, const HttpHead& head) {
  std::string code = XmlText(head.error_body, "Code").substr(0, kMaxErrorText);
  std::replace_if(
      code.begin(), code.end(), [](char c) { return c < 0x20 || c > 0x7E; }, '?');
  const std::string text = fmt::format("{}: answered {}{}", uri.Printed(), head.status,
                                       code.empty() ? "" : " (" + code + ")");
  if (head.status == 404 || head.status == 410) return {StatusCode::kNotFound, text};
  if (MayPass(head.status)) return {StatusCode::kUnavailable, text};
  if (head.status == 401 || head.status == 403) {
    return {StatusCode::kConfiguration,
            text + (uri.kind == ModelUri::Kind::kS3
                        ? "; see repository.s3 for the credentials that are used"
                        : "; the store wants credentials, which are offered for s3:// only")};
  }
  if (uri.kind == ModelUri::Kind::kS3 && (Redirects(head.status) || head.status == 400)) {
    return {StatusCode::kConfiguration,
            text + "; check repository.s3.region and repository.s3.endpoint"};
  }
  return {StatusCode::kInternal, text};
}

// What Retry-After asks for in seconds; its other form, a date, counts as nothing.
std::optional<Millis> AskedWait(const HttpHead& head) {
  const std::string text = head.Header("retry-after");
  std::int64_t seconds = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (error != std::errc() || stop != text.data() + text.size() || seconds < 0) return std::nullopt;
  const std::int64_t longest = RemoteStore::kLongestAsked.count() / 1000;
  return Millis(std::min(seconds, longest) * 1000);
}

// `location` as a browser would read it at `place`.
Result<ModelUri> Located(const std::string& location, const ModelUri& place) {
  if (location.starts_with("//")) return ParseUri((place.tls ? "https:" : "http:") + location);
  if (location.find("://") != std::string::npos) return ParseUri(location);
  const std::string root = (place.tls ? "https://" : "http://") + HostAndPort(place);
  if (location.starts_with('/')) return ParseUri(root + location);
  return ParseUri(root + place.path.substr(0, place.path.rfind('/') + 1) + location);
}

}  // namespace

RemoteStore::RemoteStore(const RepositoryOptions& options, const SourcePolicy& policy,
                         AwsCredentialChain& credentials, const EnvironmentReader& variable,
                         const Clock& clock, const std::atomic<bool>& cancelled)
    : options_(options),
      policy_(policy),
      credentials_(credentials),
      clock_(clock),
      cancelled_(cancelled),
      s3_endpoint_(S3Endpoint(options.s3, variable)),
      s3_region_(S3Region(options.s3, variable)) {}

Result<ModelUri> RemoteStore::Place(const ModelUri& uri) const {
  if (uri.kind == ModelUri::Kind::kHttp) return uri;
  Result<ModelUri> place = ParseUri(s3_endpoint_);
  if (!place.ok() || place->kind != ModelUri::Kind::kHttp || !place->query.empty()) {
    return Status(StatusCode::kConfiguration,
                  "repository.s3.endpoint: '" + s3_endpoint_ + "' is no http: or https: URL");
  }
  if (place->IsFolder()) place->path.pop_back();
  place->path += "/" + uri.bucket + PercentEncoded(uri.path, true);
  return place;
}

Status RemoteStore::CheckAllowed(const ModelUri& uri) const {
  const Result<ModelUri> place = Place(uri);
  if (!place.ok()) return place.status();
  return policy_.CheckHost(*place).WithContext(uri.Printed());
}

Result<HttpRequest> RemoteStore::MakeRequest(const ModelUri& uri, const ModelUri& place,
                                             const FileSink& sink) {
  const bool is_s3 = uri.kind == ModelUri::Kind::kS3;
  HttpRequest request;
  request.url = place.Spelled();
  request.printed = uri.Printed();
  request.check = policy_.ChecksFor(place);
  // S3 promises If-Match and says nothing of If-Range.
  AwsRequest to_sign;
  to_sign.headers = sink.Wanted(is_s3 ? "if-match" : "if-range");
  AwsCredentials credentials;
  if (is_s3) {
    Result<AwsCredentials> found = credentials_.Get();
    if (!found.ok()) return found.status();
    credentials = std::move(*found);
  }
  to_sign.host = HostAndPort(place);
  to_sign.path = place.path;
  to_sign.region = s3_region_;
  request.headers = SignedHeaders(to_sign, credentials, clock_.WallNow());
  return request;
}

Status RemoteStore::Redirect(const ModelUri& uri, const HttpHead& head, ModelUri& place) const {
  if (uri.kind == ModelUri::Kind::kS3) return Refusal(uri, head);
  const Result<ModelUri> next = Located(head.Header("location"), place);
  if (!next.ok() || next->kind != ModelUri::Kind::kHttp) {
    return {StatusCode::kInternal, uri.Printed() + ": is redirected to what is no URL"};
  }
  const bool same = next->tls == place.tls && next->port == place.port;
  const bool to_tls = !place.tls && next->tls && place.port == 80 && next->port == 443;
  if (next->host != place.host || !(same || to_tls)) {
    return {StatusCode::kConfiguration,
            fmt::format("{}: is redirected to another host, {}, which is not followed; name that "
                        "place itself",
                        uri.Printed(), HostAndPort(*next))};
  }
  place = *next;
  return policy_.CheckHost(place).WithContext(uri.Printed());
}

Status RemoteStore::Late() const {
  return {StatusCode::kDeadlineExceeded,
          "not done within repository.fetch_timeout, " + FormatDuration(options_.fetch_timeout)};
}

Status RemoteStore::Wait(Millis wait, MonoTime deadline) const {
  const MonoTime until = clock_.Now() + wait;
  if (until >= deadline) return Late();
  while (clock_.Now() < until) {
    if (cancelled_.load(std::memory_order_relaxed)) {
      return {StatusCode::kCancelled, "stopped on request"};
    }
    std::this_thread::sleep_for(kNap);
  }
  return {};
}

Status RemoteStore::Get(const ModelUri& uri, FileSink& sink, MonoTime deadline, long* answered) {
  Result<ModelUri> place = Place(uri);
  if (!place.ok()) return place.status();
  MILLRACE_RETURN_IF_ERROR(policy_.CheckHost(*place).WithContext(uri.Printed()));
  HttpLimits limits{options_.connect_timeout, options_.low_speed_bytes, options_.low_speed_time,
                    Millis(0), options_.ca_file};
  int redirects = 0;
  Millis wait = kFirstWait;
  for (std::int64_t attempts = 1;; ++attempts) {
    limits.whole = std::chrono::duration_cast<Millis>(deadline - clock_.Now());
    if (limits.whole <= Millis(0)) return Late().WithContext(uri.Printed());
    const std::int64_t before = sink.received();
    Millis pause = wait;
    Status failure;
    *answered = 0;
    const Result<HttpRequest> request = MakeRequest(uri, *place, sink);
    const Result<HttpHead> head = request.ok() ? HttpSend(*request, limits, cancelled_, sink)
                                               : Result<HttpHead>(request.status());
    if (head.ok()) {
      *answered = head->status;
      if (head->status == 200 || head->status == 206) return {};
      if (Redirects(head->status)) {
        if (++redirects > kMaxRedirects) {
          return {StatusCode::kInternal, uri.Printed() + ": is redirected too often"};
        }
        MILLRACE_RETURN_IF_ERROR(Redirect(uri, *head, *place));
        --attempts;
        continue;
      }
      failure = Refusal(uri, *head);
      pause = AskedWait(*head).value_or(wait);
      if ((head->status == 412 || head->status == 416) && sink.StartAgain()) {
        failure = Status(StatusCode::kUnavailable, std::string(failure.message()));
      }
      if (failure.code() != StatusCode::kUnavailable) return failure;
    } else {
      failure = head.status();
      if (failure.code() != StatusCode::kUnavailable) return failure;
    }
    if (sink.received() > before) {
      attempts = 1;
      wait = pause = kFirstWait;
    }
    if (attempts >= options_.fetch_attempts) {
      return failure.WithContext(
          fmt::format("given up after {} attempts (repository.fetch_attempts)", attempts));
    }
    MILLRACE_RETURN_IF_ERROR(Wait(pause, deadline).WithContext(std::string(failure.message())));
    wait = std::min(wait * 2, kLongestWait);
  }
}

}  // namespace millrace
