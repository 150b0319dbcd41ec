// ModelUri: where a model file is, as a setting, an event or a person says it.
//
//   file:///abs/model.onnx, /abs/model.onnx   https://host[:port]/path[?query], http://...
//   s3://bucket/key                           a path relative to the base that a caller names
//
// A URI that ends in '/' means the model.onnx in that folder. Strict on purpose, because what is
// checked here is later put together again for libraries that read URIs their own way: no user
// names or passwords (they would end up in logs), no '.' or '..' segments, no fragments, hosts of
// letters, digits, '-' and '.', addresses in their usual notation only. Pure; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"

namespace millrace {

inline constexpr std::size_t kMaxUriBytes = 2048;

struct ModelUri {
  enum class Kind : std::uint8_t { kFile, kHttp, kS3 };

  Kind kind = Kind::kFile;
  bool tls = false;        // kHttp: https.
  std::string host;        // kHttp: in lower case; an IPv6 address without its brackets.
  std::uint16_t port = 0;  // kHttp: never 0.
  std::string bucket;      // kS3.
  // kFile: an absolute path, decoded. kHttp: as in the URI, percent-encoded. kS3: '/' and the key,
  // as it is written, nothing in it is decoded.
  std::string path;
  std::string query;  // kHttp: without '?'.

  bool IsFolder() const { return path.ends_with('/'); }
  // For logs and errors: without the query, which may hold a signature.
  std::string Printed() const;
  // The whole URI in one spelling, to be hashed and compared; not for logs.
  std::string Spelled() const;
  // The file `name` in the same folder.
  ModelUri Beside(std::string_view name) const;
  // "model.onnx" or "model.test": what a model file of this URI is called where it is kept.
  std::string_view ModelFileName() const;
};

// Any URI of the list above but a relative one. kInvalidArgument says what is wrong.
Result<ModelUri> ParseUri(std::string_view text);

// The URI of a model file. A relative one is of a file below `base`, a URI or an absolute path; an
// error when there is none. The path ends in .onnx or .test.
Result<ModelUri> ParseModelUri(std::string_view text, std::string_view base);

// "host:port" as a URL wants it: brackets around an IPv6 address, no port that the scheme implies.
std::string HostAndPort(const ModelUri& uri);

// Percent-encodes what RFC 3986 does not call unreserved; '/' is kept where `keep_slash`.
std::string PercentEncoded(std::string_view text, bool keep_slash);

}  // namespace millrace
