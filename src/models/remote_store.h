// RemoteStore: gets files from http:, https: and s3: URIs, and tries again what may pass.
//
// Every request is made anew for each attempt: checked against the policy, signed with the present
// time. A redirect is followed within the same host only (from http to https too), and never where
// a request is signed. Waits between attempts grow from kFirstWait to kLongestWait, or are what the
// server asks for, up to kLongestAsked. An attempt that brought bytes starts the count anew.
//
// Get blocks. Any thread, several at once.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "models/aws_credentials.h"
#include "models/http_fetch.h"
#include "models/options.h"
#include "models/source_policy.h"
#include "models/uri.h"

namespace millrace {

// Takes a file that may come in several responses.
class FileSink : public BodySink {
 public:
  using Headers = std::vector<std::pair<std::string, std::string>>;

  // What to ask for beside the file's name: the range that is missing. `conditional`: the header
  // that makes a range count only if the file is still the same.
  virtual Headers Wanted(const std::string& conditional) const = 0;
  // The server has another file, or no such range: whether there is something that can be dropped.
  virtual bool StartAgain() = 0;
  virtual std::int64_t received() const = 0;
};

class RemoteStore {
 public:
  static constexpr int kMaxRedirects = 3;
  static constexpr Millis kFirstWait{200};
  static constexpr Millis kLongestWait{10'000};
  static constexpr Millis kLongestAsked{60'000};

  // All must outlive the store.
  RemoteStore(const RepositoryOptions& options, const SourcePolicy& policy,
              AwsCredentialChain& credentials, const EnvironmentReader& variable,
              const Clock& clock, const std::atomic<bool>& cancelled);

  // Whether the policy lets anything be asked of the URI's host.
  Status CheckAllowed(const ModelUri& uri) const;

  // Brings the file to `sink`. `answered` gets the status of the last response, 0 without one.
  // kNotFound, kConfiguration for what is refused on either side, kUnavailable when all attempts
  // failed, kDeadlineExceeded, kCancelled, and the sink's errors.
  Status Get(const ModelUri& uri, FileSink& sink, MonoTime deadline, long* answered);

 private:
  // Where the URI's requests go: an http: or https: URL.
  Result<ModelUri> Place(const ModelUri& uri) const;
  Result<HttpRequest> MakeRequest(const ModelUri& uri, const ModelUri& place, const FileSink& sink);
  Status Redirect(const ModelUri& uri, const HttpHead& head, ModelUri& place) const;
  Status Wait(Millis wait, MonoTime deadline) const;
  Status Late() const;

  const RepositoryOptions& options_;
  const SourcePolicy& policy_;
  AwsCredentialChain& credentials_;
  const Clock& clock_;
  const std::atomic<bool>& cancelled_;
  const std::string s3_endpoint_;
  const std::string s3_region_;
};

}  // namespace millrace
