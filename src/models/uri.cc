#include "models/uri.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

namespace millrace {
namespace {

constexpr std::uint16_t kHttpPort = 80;
constexpr std::uint16_t kHttpsPort = 443;
constexpr std::size_t kMaxHostBytes = 253;
constexpr std::size_t kMinBucketBytes = 3;
constexpr std::size_t kMaxBucketBytes = 63;

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsLetter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

Status Wrong(std::string_view what) {
  return {StatusCode::kInvalidArgument, "model URI " + std::string(what)};
}

int HexValue(char c) {
  if (IsDigit(c)) return c - '0';
  c = Lower(c);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

std::optional<std::string> PercentDecoded(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    if (i + 2 >= text.size()) return std::nullopt;
    const int high = HexValue(text[i + 1]);
    const int low = HexValue(text[i + 2]);
    if (high < 0 || low < 0) return std::nullopt;
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return out;
}

bool HasControls(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; });
}

// Whether a segment between slashes is '.' or '..', which whoever reads the path might resolve.
bool HasDotSegment(std::string_view path) {
  for (std::size_t at = 0; at <= path.size();) {
    const std::size_t slash = std::min(path.find('/', at), path.size());
    const std::string_view segment = path.substr(at, slash - at);
    if (segment == "." || segment == "..") return true;
    at = slash + 1;
  }
  return false;
}

bool IsAddress(const std::string& host) {
  std::array<unsigned char, sizeof(in6_addr)> bytes{};
  return ::inet_pton(AF_INET, host.c_str(), bytes.data()) == 1 ||
         ::inet_pton(AF_INET6, host.c_str(), bytes.data()) == 1;
}

Status CheckHostName(const std::string& host) {
  if (host.empty()) return Wrong("names no host");
  if (host.size() > kMaxHostBytes) return Wrong("has a host name that is too long");
  if (IsAddress(host)) return {};
  const bool plain = std::all_of(host.begin(), host.end(), [](char c) {
    return IsDigit(c) || IsLetter(c) || c == '-' || c == '.' || c == '_';
  });
  if (!plain) return Wrong("has a host that is neither a name nor an address: '" + host + "'");
  if (host[0] == '.' || host[0] == '-' || host.back() == '.' ||
      host.find("..") != std::string::npos) {
    return Wrong("has a host name that cannot be: '" + host + "'");
  }
  // "127.1" and "0x7f000001" are addresses to some who read them.
  const std::string last = host.substr(host.rfind('.') + 1);
  if (!last.empty() && IsDigit(last[0])) {
    return Wrong("has a host that looks like an address and is none: '" + host + "'");
  }
  return {};
}

Status ReadPort(std::string_view text, std::uint16_t& port) {
  unsigned value = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || stop != text.data() + text.size() || value == 0 || value > 0xFFFF) {
    return Wrong("has a port that is none: '" + std::string(text) + "'");
  }
  port = static_cast<std::uint16_t>(value);
  return {};
}

Status ReadAuthority(std::string_view authority, ModelUri& uri) {
  if (authority.find('@') != std::string_view::npos) {
    return Wrong("holds a user name; credentials belong into settings, not into a URI");
  }
  uri.port = uri.tls ? kHttpsPort : kHttpPort;
  std::string_view host = authority;
  std::string_view port;
  if (authority.starts_with('[')) {
    const std::size_t close = authority.find(']');
    if (close == std::string_view::npos) return Wrong("has a host with a '[' that is never closed");
    host = authority.substr(1, close - 1);
    port = authority.substr(close + 1);
    if (host.find(':') == std::string_view::npos) return Wrong("has no IPv6 address in its []");
    if (!port.empty() && port[0] != ':') return Wrong("has something between host and port");
    if (port == ":") return Wrong("has no port after its ':'");
    if (!port.empty()) port.remove_prefix(1);
  } else if (const std::size_t colon = authority.find(':'); colon != std::string_view::npos) {
    host = authority.substr(0, colon);
    port = authority.substr(colon + 1);
    if (port.empty()) return Wrong("has no port after its ':'");
  }
  uri.host.assign(host);
  std::transform(uri.host.begin(), uri.host.end(), uri.host.begin(), Lower);
  if (uri.host.ends_with('.')) uri.host.pop_back();
  MILLRACE_RETURN_IF_ERROR(CheckHostName(uri.host));
  return port.empty() ? Status() : ReadPort(port, uri.port);
}

Status CheckHttpText(std::string_view text) {
  constexpr std::string_view kAllowed = "-._~!$&'()*+,;=:@/%?";
  const bool plain = std::all_of(text.begin(), text.end(), [&](char c) {
    return IsDigit(c) || IsLetter(c) || kAllowed.find(c) != std::string_view::npos;
  });
  return plain ? Status() : Wrong("has characters that have to be percent-encoded");
}

Result<ModelUri> ParseHttp(std::string_view rest, bool tls) {
  ModelUri uri;
  uri.kind = ModelUri::Kind::kHttp;
  uri.tls = tls;
  const std::size_t end = std::min(rest.find_first_of("/?"), rest.size());
  MILLRACE_RETURN_IF_ERROR(ReadAuthority(rest.substr(0, end), uri));
  rest.remove_prefix(end);
  MILLRACE_RETURN_IF_ERROR(CheckHttpText(rest));
  const std::size_t question = std::min(rest.find('?'), rest.size());
  uri.path.assign(rest.substr(0, question));
  if (question < rest.size()) uri.query.assign(rest.substr(question + 1));
  if (uri.path.empty()) uri.path = "/";
  const std::optional<std::string> decoded = PercentDecoded(uri.path);
  if (!decoded) return Wrong("has a '%' that two hexadecimal digits do not follow");
  if (HasControls(*decoded)) return Wrong("has control characters");
  if (HasDotSegment(*decoded)) return Wrong("has a '.' or '..' in its path");
  return uri;
}

Result<ModelUri> ParseS3(std::string_view rest) {
  ModelUri uri;
  uri.kind = ModelUri::Kind::kS3;
  const std::size_t slash = std::min(rest.find('/'), rest.size());
  uri.bucket.assign(rest.substr(0, slash));
  uri.path.assign(slash == rest.size() ? "/" : rest.substr(slash));
  const bool plain = std::all_of(uri.bucket.begin(), uri.bucket.end(), [](char c) {
    return IsDigit(c) || IsLetter(c) || c == '-' || c == '.' || c == '_';
  });
  if (!plain || uri.bucket.size() < kMinBucketBytes || uri.bucket.size() > kMaxBucketBytes ||
      uri.bucket[0] == '.' || uri.bucket.find("..") != std::string::npos) {
    return Wrong("has no bucket name after s3://: '" + uri.bucket + "'");
  }
  if (HasDotSegment(uri.path)) return Wrong("has a '.' or '..' in its key");
  return uri;
}

Result<ModelUri> ParseFile(std::string path) {
  ModelUri uri;
  uri.kind = ModelUri::Kind::kFile;
  if (path.empty() || path[0] != '/') return Wrong("of a file has no absolute path");
  if (HasControls(path)) return Wrong("has control characters");
  uri.path = std::move(path);
  return uri;
}

// "https" of "https://..."; empty when there is no scheme.
std::string SchemeOf(std::string_view text) {
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos || colon == 0 || !IsLetter(text[0])) return {};
  std::string scheme(text.substr(0, colon));
  const bool plain = std::all_of(scheme.begin(), scheme.end(), [](char c) {
    return IsDigit(c) || IsLetter(c) || c == '+' || c == '-' || c == '.';
  });
  if (!plain) return {};
  std::transform(scheme.begin(), scheme.end(), scheme.begin(), Lower);
  return scheme;
}

Status CheckText(std::string_view text) {
  if (text.empty()) return Wrong("is empty");
  if (text.size() > kMaxUriBytes) {
    return Wrong("is longer than " + std::to_string(kMaxUriBytes) + " bytes");
  }
  if (HasControls(text)) return Wrong("has control characters");
  return {};
}

// Below `base`, which is a folder whether it ends in '/' or not.
Result<ModelUri> Below(std::string_view base, std::string_view relative) {
  if (base.empty()) {
    return Wrong("is relative, and neither repository.store nor repository.dir says to what: '" +
                 std::string(relative) + "'");
  }
  Result<ModelUri> uri = ParseUri(base);
  if (!uri.ok()) return uri.status().WithContext("repository.store");
  if (HasDotSegment(relative)) return Wrong("has a '.' or '..' in its path");
  if (!uri->IsFolder()) uri->path += '/';
  if (uri->kind != ModelUri::Kind::kHttp) {
    uri->path += relative;
    return uri;
  }
  MILLRACE_RETURN_IF_ERROR(CheckHttpText(relative));
  const std::optional<std::string> decoded = PercentDecoded(relative);
  if (!decoded || HasControls(*decoded) || HasDotSegment(*decoded) ||
      relative.find('?') != std::string_view::npos) {
    return Wrong("is not a path: '" + std::string(relative) + "'");
  }
  uri->path += relative;
  return uri;
}

}  // namespace

std::string HostAndPort(const ModelUri& uri) {
  const bool six = uri.host.find(':') != std::string::npos;
  std::string text = six ? "[" + uri.host + "]" : uri.host;
  if (uri.port != (uri.tls ? kHttpsPort : kHttpPort)) text += ":" + std::to_string(uri.port);
  return text;
}

std::string ModelUri::Printed() const {
  if (kind == Kind::kFile) return path;
  if (kind == Kind::kS3) return "s3://" + bucket + path;
  return (tls ? "https://" : "http://") + HostAndPort(*this) + path + (query.empty() ? "" : "?...");
}

std::string ModelUri::Spelled() const {
  if (kind != Kind::kHttp || query.empty()) return Printed();
  return (tls ? "https://" : "http://") + HostAndPort(*this) + path + "?" + query;
}

ModelUri ModelUri::Beside(std::string_view name) const {
  ModelUri beside = *this;
  beside.path.resize(path.rfind('/') + 1);
  beside.path += name;
  return beside;
}

std::string_view ModelUri::ModelFileName() const {
  return path.ends_with(".test") ? "model.test" : "model.onnx";
}

Result<ModelUri> ParseUri(std::string_view text) {
  MILLRACE_RETURN_IF_ERROR(CheckText(text));
  if (text[0] == '/') return ParseFile(std::string(text));
  const std::string scheme = SchemeOf(text);
  const std::string_view rest = text.substr(std::min(scheme.size() + 1, text.size()));
  if (scheme.empty() || !rest.starts_with("//")) {
    return Wrong(
        "is neither an absolute path nor begins with file://, http://, https:// or "
        "s3://: '" +
        std::string(text.substr(0, text.find_first_of("?@"))) + "'");
  }
  if (scheme != "s3" && text.find('#') != std::string_view::npos) {
    return Wrong("has a fragment ('#')");
  }
  if (scheme == "http" || scheme == "https") return ParseHttp(rest.substr(2), scheme == "https");
  if (scheme == "s3") return ParseS3(rest.substr(2));
  if (scheme != "file") {
    return Wrong("has scheme '" + scheme + "'; offered are file, http, https and s3");
  }
  if (!rest.starts_with("///")) return Wrong("of a file names a host; write file:///path");
  std::optional<std::string> path = PercentDecoded(rest.substr(2));
  if (!path) return Wrong("has a '%' that two hexadecimal digits do not follow");
  return ParseFile(std::move(*path));
}

Result<ModelUri> ParseModelUri(std::string_view text, std::string_view base) {
  MILLRACE_RETURN_IF_ERROR(CheckText(text));
  const bool whole = text[0] == '/' || !SchemeOf(text).empty();
  Result<ModelUri> uri = whole ? ParseUri(text) : Below(base, text);
  if (!uri.ok()) return uri;
  if (uri->IsFolder()) uri->path += "model.onnx";
  if (!uri->path.ends_with(".onnx") && !uri->path.ends_with(".test")) {
    return Wrong("names no model file: " + uri->Printed() +
                 " ends neither in .onnx nor, for a folder, in '/'");
  }
  return uri;
}

std::string PercentEncoded(std::string_view text, bool keep_slash) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const bool kept = IsDigit(c) || IsLetter(c) || c == '-' || c == '.' || c == '_' || c == '~' ||
                      (c == '/' && keep_slash);
    if (kept) {
      out += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      out += '%';
      out += kHex[byte >> 4U];
      out += kHex[byte & 0xFU];
    }
  }
  return out;
}

}  // namespace millrace
