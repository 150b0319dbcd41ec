// HttpSend: one request to one host by HTTP/1.1, the body given to a sink as it comes.
//
// No redirect is followed, no proxy used, no cookie, .netrc or other credential sent that is not in
// the request, and no protocol but http and https spoken. Each address is put to the request's
// check before a connection is made to it, after names were resolved, so that a name cannot change
// its meaning between a check and the connection. Certificates are verified always.
//
// Blocks for as long as the limits let it. Any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "models/source_policy.h"

namespace millrace {

inline constexpr std::size_t kMaxResponseHeaders = 100;
inline constexpr std::size_t kMaxResponseHeaderBytes = 32 << 10;
// Of a response that is an error: as much as its explanation takes.
inline constexpr std::size_t kMaxErrorBodyBytes = 4 << 10;

struct HttpRequest {
  std::string method = "GET";
  std::string url;
  std::string printed;               // For messages: the URL without what is secret.
  std::vector<std::string> headers;  // "Name: value".
  std::string body;                  // Sent when the method is POST.
  AddressCheck check;
};

struct HttpHead {
  long status = 0;
  std::map<std::string, std::string> headers;  // Names in lower case; of two the last counts.
  std::int64_t content_length = -1;            // -1: not said.
  std::string error_body;                      // Of a status other than 200 and 206.

  // Empty when there is none.
  std::string Header(const std::string& name) const;
};

class BodySink {
 public:
  virtual ~BodySink() = default;
  // Once, for a response of status 200 or 206, before its body. An error ends the request with it.
  virtual Status Begin(const HttpHead& head) = 0;
  virtual Status Write(std::string_view bytes) = 0;
};

struct HttpLimits {
  Millis connect_timeout{5'000};
  std::int64_t low_speed_bytes = 0;  // A second; 0: none.
  Millis low_speed_time{30'000};
  Millis whole{30'000};
  std::string ca_file;  // Empty: the system's.
};

// The response, whatever its status, when one came and was read to its end. kUnavailable for what
// may pass: no answer, a connection that broke, a body that was cut; kCancelled; kConfiguration for
// an address or certificate that is refused; the sink's errors as they are.
Result<HttpHead> HttpSend(const HttpRequest& request, const HttpLimits& limits,
                          const std::atomic<bool>& cancelled, BodySink& sink);

}  // namespace millrace
