// Fuzz target: any text as the URI of a model. Whatever is taken reads back to itself in the
// spelling that goes to libraries, and holds nothing that they could read another way.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "models/uri.h"

namespace millrace {
namespace {

void Require(bool condition) {
  if (!condition) std::abort();
}

void Check(const Result<ModelUri>& uri) {
  if (!uri.ok()) {
    Require(uri.status().code() == StatusCode::kInvalidArgument);
    return;
  }
  Require(uri->path.starts_with('/'));
  for (const char* segment : {"/../", "/./"}) {
    Require(uri->kind == ModelUri::Kind::kFile || uri->path.find(segment) == std::string::npos);
  }
  for (const char c : uri->Spelled()) Require(static_cast<unsigned char>(c) >= 0x20 && c != 0x7F);
  if (uri->kind != ModelUri::Kind::kHttp) return;
  Require(uri->port != 0 && !uri->host.empty());
  const std::string authority = HostAndPort(*uri);
  Require(authority.find_first_of("@/\\?# ") == std::string::npos);
  const Result<ModelUri> again = ParseUri(uri->Spelled());
  Require(again.ok() && again->Spelled() == uri->Spelled() && again->host == uri->host);
}

}  // namespace
}  // namespace millrace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  millrace::Check(millrace::ParseModelUri(text, "https://models.example.com:8443/base"));
  millrace::Check(millrace::ParseModelUri(text, "s3://bucket/base"));
  millrace::Check(millrace::ParseModelUri(text, "/srv/models"));
  return 0;
}
