#include "models/source_policy.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <optional>
#include <system_error>

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr unsigned kV4Offset = 96;  // Bits before an IPv4 address in its mapped form.
constexpr std::size_t kV4Byte = kV4Offset / 8;

struct Range {
  std::array<std::uint8_t, 16> address;
  unsigned bits;
};

constexpr Range V4(std::uint8_t a, std::uint8_t b, std::uint8_t c, unsigned bits) {
  return {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, a, b, c, 0}, kV4Offset + bits};
}

// Not reachable through the internet, as the registries of special addresses have it.
constexpr Range kSpecial[] = {
    V4(0, 0, 0, 8),
    V4(10, 0, 0, 8),
    V4(100, 64, 0, 10),
    V4(127, 0, 0, 8),
    V4(172, 16, 0, 12),
    V4(192, 0, 0, 24),
    V4(192, 0, 2, 24),
    V4(192, 168, 0, 16),
    V4(198, 18, 0, 15),
    V4(198, 51, 100, 24),
    V4(203, 0, 113, 24),
    V4(224, 0, 0, 3),
    {{}, 96},                                    // ::, ::1, ::a.b.c.d
    {{0x00, 0x64, 0xFF, 0x9B, 0x00, 0x01}, 48},  // local NAT64
    {{0x01, 0x00}, 64},                          // discard
    {{0x20, 0x01, 0x00}, 23},                    // Teredo and other protocols
    {{0x20, 0x01, 0x0D, 0xB8}, 32},              // documentation
    {{0xFC}, 7},                                 // unique local
    {{0xFE, 0xC0}, 10},                          // site local
    {{0xFF}, 8},                                 // multicast
};
constexpr Range kLinkLocal[] = {
    V4(169, 254, 0, 16),
    {{0xFE, 0x80}, 10},
    // Where a cloud answers for itself, though the range is unique local.
    {{0xFD, 0x00, 0x0E, 0xC2}, 32},
};
// An IPv4 address is inside: what counts is that one.
constexpr Range kNat64 = {{0x00, 0x64, 0xFF, 0x9B}, 96};
constexpr Range kSixToFour = {{0x20, 0x02}, 16};

bool InRange(const std::array<std::uint8_t, 16>& address, const Range& range) {
  const std::size_t whole = range.bits / 8;
  if (!std::equal(address.begin(), address.begin() + static_cast<std::ptrdiff_t>(whole),
                  range.address.begin())) {
    return false;
  }
  const unsigned rest = range.bits % 8;
  if (rest == 0) return true;
  const auto mask = static_cast<std::uint8_t>(0xFFU << (8 - rest));
  return (address[whole] & mask) == (range.address[whole] & mask);
}

std::array<std::uint8_t, 16> Mapped(const std::uint8_t* v4) {
  std::array<std::uint8_t, 16> address{};
  address[10] = address[11] = 0xFF;
  std::copy_n(v4, 4, address.begin() + kV4Byte);
  return address;
}

std::array<std::uint8_t, 16> WithoutTunnel(const std::array<std::uint8_t, 16>& address) {
  if (InRange(address, kNat64)) return Mapped(address.data() + kV4Byte);
  if (InRange(address, kSixToFour)) return Mapped(address.data() + 2);
  return address;
}

template <std::size_t N>
bool InAny(const std::array<std::uint8_t, 16>& address, const Range (&ranges)[N]) {
  return std::any_of(std::begin(ranges), std::end(ranges),
                     [&](const Range& range) { return InRange(address, range); });
}

std::string AddressText(const std::array<std::uint8_t, 16>& address) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  const bool v4 = InRange(address, V4(0, 0, 0, 0));
  const void* bytes = v4 ? address.data() + kV4Byte : address.data();
  const char* shown = ::inet_ntop(v4 ? AF_INET : AF_INET6, bytes, text.data(), text.size());
  return shown == nullptr ? "?" : shown;
}

template <class T>
std::optional<T> Number(std::string_view text) {
  T value{};
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || stop != text.data() + text.size()) return std::nullopt;
  return value;
}

Status WrongEntry(const std::string& text, const char* why) {
  return {StatusCode::kConfiguration,
          fmt::format("repository.allow_hosts: '{}' {}; expected a host name, *.suffix, host:port, "
                      "an address or a CIDR such as 10.0.0.0/8",
                      text, why)};
}

}  // namespace

bool SourcePolicy::ToAddress(const std::string& text, Address& address, bool& is_v4) {
  std::array<std::uint8_t, 4> v4{};
  is_v4 = ::inet_pton(AF_INET, text.c_str(), v4.data()) == 1;
  if (is_v4) {
    address = Mapped(v4.data());
    return true;
  }
  return ::inet_pton(AF_INET6, text.c_str(), address.data()) == 1;
}

bool SourcePolicy::ToAddress(const sockaddr& socket, Address& address, std::uint16_t& port) {
  if (socket.sa_family == AF_INET) {
    sockaddr_in in{};
    std::memcpy(&in, &socket, sizeof(in));
    std::array<std::uint8_t, 4> v4{};
    std::memcpy(v4.data(), &in.sin_addr, v4.size());
    address = Mapped(v4.data());
    port = ntohs(in.sin_port);
    return true;
  }
  if (socket.sa_family != AF_INET6) return false;
  sockaddr_in6 in{};
  std::memcpy(&in, &socket, sizeof(in));
  std::memcpy(address.data(), &in.sin6_addr, address.size());
  port = ntohs(in.sin6_port);
  return true;
}

Status SourcePolicy::AddEntry(const std::string& text) {
  if (names_.size() + networks_.size() >= kMaxAllowEntries) {
    return WrongEntry(text, "is one too many");
  }
  if (const std::size_t slash = text.find('/'); slash != std::string::npos) {
    NetworkEntry network;
    bool v4 = false;
    const auto bits = Number<unsigned>(std::string_view(text).substr(slash + 1));
    if (!bits || !ToAddress(text.substr(0, slash), network.address, v4) ||
        *bits > (v4 ? 32U : 128U)) {
      return WrongEntry(text, "is no network");
    }
    network.bits = *bits + (v4 ? kV4Offset : 0);
    networks_.push_back(network);
    return {};
  }
  NetworkEntry single;
  bool v4 = false;
  if (ToAddress(text, single.address, v4)) {
    networks_.push_back(single);
    return {};
  }
  const bool wild = text.starts_with("*.");
  // As a URI is read, so that both mean the same host.
  const Result<ModelUri> uri = ParseUri("http://" + (wild ? text.substr(2) : text) + "/");
  if (!uri.ok() || uri->path != "/") return WrongEntry(text, "is no host");
  const bool has_port = text.back() != ']' && text.rfind(':') != std::string::npos;
  if (ToAddress(uri->host, single.address, v4)) {
    if (wild) return WrongEntry(text, "is no host");
    single.port = has_port ? uri->port : std::uint16_t{0};
    networks_.push_back(single);
    return {};
  }
  names_.push_back({(wild ? "." : "") + uri->host, has_port ? uri->port : std::uint16_t{0}, false});
  return {};
}

Status SourcePolicy::AddStore(const std::string& url, const char* setting) {
  const Result<ModelUri> uri = ParseUri(url);
  if (!uri.ok()) {
    return {StatusCode::kConfiguration, fmt::format("{}: {}", setting, uri.status().message())};
  }
  if (uri->kind == ModelUri::Kind::kHttp) names_.push_back({uri->host, uri->port, true});
  if (uri->kind == ModelUri::Kind::kFile) folders_.push_back(uri->path);
  return {};
}

Result<SourcePolicy> SourcePolicy::Make(const RepositoryOptions& options,
                                        const std::string& s3_endpoint) {
  SourcePolicy policy;
  for (const std::string& entry : SplitList(options.allow_hosts)) {
    MILLRACE_RETURN_IF_ERROR(policy.AddEntry(entry));
  }
  if (!options.store.empty()) {
    MILLRACE_RETURN_IF_ERROR(policy.AddStore(options.store, "repository.store"));
  }
  if (!s3_endpoint.empty()) {
    MILLRACE_RETURN_IF_ERROR(policy.AddStore(s3_endpoint, "repository.s3.endpoint"));
  }
  if (!options.dir.empty()) policy.folders_.push_back(options.dir);
  for (const std::string& folder : SplitList(options.allow_dirs)) {
    if (folder[0] != '/') {
      return Status(StatusCode::kConfiguration,
                    "repository.allow_dirs: '" + folder + "' is not an absolute path");
    }
    policy.folders_.push_back(folder);
  }
  return policy;
}

const SourcePolicy::NameEntry* SourcePolicy::FindName(const ModelUri& uri) const {
  const NameEntry* found = nullptr;
  for (const NameEntry& entry : names_) {
    const bool matches =
        entry.name[0] == '.' ? uri.host.ends_with(entry.name) : uri.host == entry.name;
    if (!matches || (entry.port != 0 && entry.port != uri.port)) continue;
    if (found == nullptr || entry.is_store) found = &entry;
  }
  return found;
}

bool SourcePolicy::InNetworks(const Address& address, std::uint16_t port) const {
  return std::any_of(networks_.begin(), networks_.end(), [&](const NetworkEntry& entry) {
    return InRange(address, {entry.address, entry.bits}) && (entry.port == 0 || entry.port == port);
  });
}

Status SourcePolicy::CheckHost(const ModelUri& uri) const {
  Address address{};
  bool v4 = false;
  if (ToAddress(uri.host, address, v4)) return CheckAddress(address, uri.port, uri);
  if (FindName(uri) != nullptr) return {};
  // A network in the list may hold what the name resolves to.
  if (!networks_.empty()) return {};
  return {StatusCode::kConfiguration,
          fmt::format("host {} is not listed in repository.allow_hosts", HostAndPort(uri))};
}

Status SourcePolicy::CheckAddress(const Address& given, std::uint16_t port,
                                  const ModelUri& uri) const {
  if (InNetworks(given, port)) return {};
  const NameEntry* const entry = FindName(uri);
  if (entry == nullptr) {
    return {StatusCode::kConfiguration,
            fmt::format("host {} (address {}) is not listed in repository.allow_hosts",
                        HostAndPort(uri), AddressText(given))};
  }
  const Address address = WithoutTunnel(given);
  const bool link_local = InAny(address, kLinkLocal);
  if (link_local || (InAny(address, kSpecial) && !entry->is_store)) {
    return {StatusCode::kConfiguration,
            fmt::format("host {} is at {}, which is a {} address; models are fetched from such a "
                        "one only if repository.allow_hosts lists the address or its network",
                        HostAndPort(uri), AddressText(given),
                        link_local ? "link-local" : "private, loopback or otherwise special")};
  }
  return {};
}

AddressCheck SourcePolicy::ChecksFor(const ModelUri& uri) const {
  return [this, uri](const sockaddr& socket) -> Status {
    Address address{};
    std::uint16_t port = 0;
    if (!ToAddress(socket, address, port)) {
      return {StatusCode::kConfiguration, "host " + uri.host + " is at no IP address"};
    }
    return CheckAddress(address, port, uri);
  };
}

Result<std::string> SourcePolicy::ResolveFile(const std::string& path) const {
  std::error_code error;
  const fs::path real = fs::canonical(path, error);
  if (error) return Status(StatusCode::kNotFound, path + ": " + error.message());
  bool inside = false;
  for (const std::string& folder : folders_) {
    const fs::path root = fs::canonical(folder, error);
    // A root of "/" would be no rule at all, and is hardly meant.
    if (error || root == root.root_path()) continue;
    const auto [root_end, unused] =
        std::mismatch(root.begin(), root.end(), real.begin(), real.end());
    inside = inside || root_end == root.end();
  }
  if (!inside) {
    return Status(StatusCode::kConfiguration,
                  fmt::format("{}{} is outside of repository.dir and of repository.allow_dirs",
                              path, real == fs::path(path) ? "" : " (" + real.string() + ")"));
  }
  if (!fs::is_regular_file(fs::symlink_status(real, error))) {
    return Status(StatusCode::kInvalidArgument, path + " is not a regular file");
  }
  return real.string();
}

}  // namespace millrace
