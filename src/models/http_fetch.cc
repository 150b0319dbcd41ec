#include "models/http_fetch.h"

#include <curl/curl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <memory>
#include <mutex>

#include "base/check.h"

namespace millrace {
namespace {

constexpr long kOk = 200;
constexpr long kPartial = 206;
constexpr long kReceiveBytes = 256 << 10;

struct FreeHandle {
  void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
};
struct FreeList {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

// The state of one request while libcurl works at it.
class Exchange {
 public:
  Exchange(const HttpRequest& request, const std::atomic<bool>& cancelled, BodySink& sink)
      : request_(request), cancelled_(cancelled), sink_(sink) {}

  Result<HttpHead> Run(const HttpLimits& limits);

 private:
  static std::size_t OnHeader(char* data, std::size_t size, std::size_t count, void* self) {
    return static_cast<Exchange*>(self)->TakeHeader({data, size * count}) ? size * count : 0;
  }
  static std::size_t OnBody(char* data, std::size_t size, std::size_t count, void* self) {
    return static_cast<Exchange*>(self)->TakeBody({data, size * count}) ? size * count : 0;
  }
  static int OnProgress(void* self, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
    return static_cast<Exchange*>(self)->cancelled_.load(std::memory_order_relaxed) ? 1 : 0;
  }
  static curl_socket_t OnSocket(void* self, curlsocktype purpose, curl_sockaddr* address) {
    return static_cast<Exchange*>(self)->Connectable(purpose, *address);
  }

  bool TakeHeader(std::string_view line);
  bool TakeBody(std::string_view bytes);
  bool Begin();
  curl_socket_t Connectable(curlsocktype purpose, const curl_sockaddr& address);
  void Configure(CURL* handle, const HttpLimits& limits);
  Status Failure(CURLcode code, const HttpLimits& limits) const;

  const HttpRequest& request_;
  const std::atomic<bool>& cancelled_;
  BodySink& sink_;
  HttpHead head_;
  std::size_t header_bytes_ = 0;
  bool begun_ = false;
  Status failure_;  // Why we ended it, when we did.
  Status refused_;  // Why an address was not connected to; another one may have been.
  std::unique_ptr<curl_slist, FreeList> headers_;
  std::array<char, CURL_ERROR_SIZE> error_text_{};
};

bool Exchange::TakeHeader(std::string_view line) {
  header_bytes_ += line.size();
  while (!line.empty() && (line.back() == '\r' || line.back() == '\n')) line.remove_suffix(1);
  if (line.starts_with("HTTP/")) {  // Also after an interim response such as 100.
    head_.headers.clear();
    head_.content_length = -1;
    const std::size_t space = std::min(line.find(' '), line.size() - 1);
    head_.status = 0;
    std::from_chars(line.data() + space + 1, line.data() + line.size(), head_.status);
    return true;
  }
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos) return true;
  if (header_bytes_ > kMaxResponseHeaderBytes || head_.headers.size() >= kMaxResponseHeaders) {
    failure_ = Status(StatusCode::kInternal, request_.printed + ": answered with too many headers");
    return false;
  }
  std::string name(line.substr(0, colon));
  std::transform(name.begin(), name.end(), name.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  line.remove_prefix(colon + 1);
  while (!line.empty() && (line.front() == ' ' || line.front() == '\t')) line.remove_prefix(1);
  while (!line.empty() && (line.back() == ' ' || line.back() == '\t')) line.remove_suffix(1);
  if (name == "content-length") {
    std::int64_t length = 0;
    const auto [stop, error] = std::from_chars(line.data(), line.data() + line.size(), length);
    const bool whole = error == std::errc() && stop == line.data() + line.size() && length >= 0;
    head_.content_length = whole ? length : -1;
  }
  head_.headers[name] = std::string(line);
  return true;
}

bool Exchange::Begin() {
  if (begun_) return true;
  begun_ = true;
  failure_ = sink_.Begin(head_);
  return failure_.ok();
}

bool Exchange::TakeBody(std::string_view bytes) {
  if (head_.status != kOk && head_.status != kPartial) {
    const std::size_t room = kMaxErrorBodyBytes - head_.error_body.size();
    head_.error_body.append(bytes.substr(0, room));
    return true;
  }
  if (!Begin()) return false;
  failure_ = sink_.Write(bytes);
  return failure_.ok();
}

curl_socket_t Exchange::Connectable(curlsocktype purpose, const curl_sockaddr& address) {
  if (purpose != CURLSOCKTYPE_IPCXN) return CURL_SOCKET_BAD;
  if (Status status = request_.check(address.addr); !status.ok()) {
    refused_ = std::move(status);
    return CURL_SOCKET_BAD;
  }
  return ::socket(address.family, address.socktype | SOCK_CLOEXEC, address.protocol);
}

void Exchange::Configure(CURL* handle, const HttpLimits& limits) {
  const auto set = [handle](CURLoption option, auto value) {
    MILLRACE_CHECK(curl_easy_setopt(handle, option, value) == CURLE_OK);
  };
  set(CURLOPT_URL, request_.url.c_str());
  set(CURLOPT_PROTOCOLS_STR, "http,https");
  set(CURLOPT_FOLLOWLOCATION, 0L);
  set(CURLOPT_PATH_AS_IS, 1L);
  set(CURLOPT_PROXY, "");
  set(CURLOPT_NETRC, static_cast<long>(CURL_NETRC_IGNORED));
  set(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  set(CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
  set(CURLOPT_USERAGENT, "millrace");
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_FRESH_CONNECT, 1L);
  set(CURLOPT_BUFFERSIZE, kReceiveBytes);
  set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(limits.connect_timeout.count()));
  set(CURLOPT_TIMEOUT_MS, static_cast<long>(std::max(limits.whole, Millis(1)).count()));
  if (limits.low_speed_bytes > 0) {
    set(CURLOPT_LOW_SPEED_LIMIT, static_cast<long>(limits.low_speed_bytes));
    set(CURLOPT_LOW_SPEED_TIME,
        static_cast<long>(std::max<std::int64_t>(1, limits.low_speed_time.count() / 1000)));
  }
  if (!limits.ca_file.empty()) {
    set(CURLOPT_CAINFO, limits.ca_file.c_str());
    set(CURLOPT_CAPATH, static_cast<const char*>(nullptr));
  }
  if (request_.method == "POST") {
    set(CURLOPT_POST, 1L);
    set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request_.body.size()));
    set(CURLOPT_POSTFIELDS, request_.body.c_str());
  } else if (request_.method != "GET") {
    set(CURLOPT_CUSTOMREQUEST, request_.method.c_str());
  }
  for (const std::string& header : request_.headers) {
    headers_.reset(curl_slist_append(headers_.release(), header.c_str()));
    MILLRACE_CHECK(headers_ != nullptr);
  }
  set(CURLOPT_HTTPHEADER, headers_.get());
  set(CURLOPT_HEADERFUNCTION, &Exchange::OnHeader);
  set(CURLOPT_HEADERDATA, static_cast<void*>(this));
  set(CURLOPT_WRITEFUNCTION, &Exchange::OnBody);
  set(CURLOPT_WRITEDATA, static_cast<void*>(this));
  set(CURLOPT_NOPROGRESS, 0L);
  set(CURLOPT_XFERINFOFUNCTION, &Exchange::OnProgress);
  set(CURLOPT_XFERINFODATA, static_cast<void*>(this));
  set(CURLOPT_OPENSOCKETFUNCTION, &Exchange::OnSocket);
  set(CURLOPT_OPENSOCKETDATA, static_cast<void*>(this));
  set(CURLOPT_ERRORBUFFER, error_text_.data());
}

Status Exchange::Failure(CURLcode code, const HttpLimits& limits) const {
  if (!failure_.ok()) return failure_.WithContext(request_.printed);
  const std::string detail = error_text_[0] != '\0' ? error_text_.data() : curl_easy_strerror(code);
  const std::string text = request_.printed + ": " + detail;
  switch (code) {
    case CURLE_ABORTED_BY_CALLBACK:
      return {StatusCode::kCancelled, request_.printed + ": stopped on request"};
    case CURLE_COULDNT_CONNECT:
      if (!refused_.ok()) return refused_;
      return {StatusCode::kUnavailable, text};
    case CURLE_OPERATION_TIMEDOUT:
      return {StatusCode::kUnavailable,
              fmt::format("{} (repository.connect_timeout is {}, repository.low_speed_bytes {} a "
                          "second)",
                          text, FormatDuration(limits.connect_timeout), limits.low_speed_bytes)};
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
      return {StatusCode::kConfiguration,
              text + "; repository.ca_file names the authorities of a private store"};
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_WEIRD_SERVER_REPLY:
      return {StatusCode::kUnavailable, text};
    default:
      return {StatusCode::kInternal, text};
  }
}

Result<HttpHead> Exchange::Run(const HttpLimits& limits) {
  static std::once_flag once;
  std::call_once(once, [] { MILLRACE_CHECK(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK); });
  const std::unique_ptr<CURL, FreeHandle> handle(curl_easy_init());
  MILLRACE_CHECK(handle != nullptr);
  Configure(handle.get(), limits);
  const CURLcode code = curl_easy_perform(handle.get());
  if (code != CURLE_OK) return Failure(code, limits);
  // A body without a byte has not come to the sink yet.
  if ((head_.status == kOk || head_.status == kPartial) && !Begin()) {
    return failure_.WithContext(request_.printed);
  }
  return std::move(head_);
}

}  // namespace

std::string HttpHead::Header(const std::string& name) const {
  const auto found = headers.find(name);
  return found == headers.end() ? "" : found->second;
}

Result<HttpHead> HttpSend(const HttpRequest& request, const HttpLimits& limits,
                          const std::atomic<bool>& cancelled, BodySink& sink) {
  MILLRACE_CHECK(request.check != nullptr);
  return Exchange(request, cancelled, sink).Run(limits);
}

}  // namespace millrace
