// SourcePolicy: which hosts and which folders a model may come from.
//
// A URI may come from an event, so nothing is taken from it on trust. A host has to be listed in
// repository.allow_hosts, or be that of repository.store or of the S3 endpoint. And what counts in
// the end is the address that a connection is made to, whatever a name resolves to at that moment:
// private, loopback, link-local and other special addresses are refused unless an entry of the list
// is that address or a network (CIDR) that holds it. The hosts that the operator's own settings
// name as stores may be at private and loopback addresses, as an S3-compatible store in a cluster
// is, but never at link-local ones, where clouds have their metadata.
//
// A file has to be in one of the listed folders once all its links are followed. Immutable after
// Make; any thread.
#pragma once

#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/status.h"
#include "models/options.h"
#include "models/uri.h"

namespace millrace {

inline constexpr std::size_t kMaxAllowEntries = 1024;

// Refuses an address before anything is sent to it; the error says why.
using AddressCheck = std::function<Status(const sockaddr& address)>;

class SourcePolicy {
 public:
  // kConfiguration when an entry of a list cannot be read. `s3_endpoint`: an http: or https: URL.
  static Result<SourcePolicy> Make(const RepositoryOptions& options,
                                   const std::string& s3_endpoint);

  // Whether anything may be asked of the host. kConfiguration, naming the setting, when it is not
  // listed.
  Status CheckHost(const ModelUri& uri) const;
  // For connections to the URI's host. REQUIRES: kHttp.
  AddressCheck ChecksFor(const ModelUri& uri) const;

  // The place that `path` leads to once links are followed. kConfiguration when that is in none of
  // the folders, kNotFound when there is none, kInvalidArgument for what is not a regular file.
  Result<std::string> ResolveFile(const std::string& path) const;

 private:
  // 16 bytes; IPv4 as ::ffff:a.b.c.d.
  using Address = std::array<std::uint8_t, 16>;

  struct NameEntry {
    std::string name;        // ".example.com" for *.example.com.
    std::uint16_t port = 0;  // 0: any.
    bool is_store = false;   // Named by a setting other than allow_hosts.
  };
  struct NetworkEntry {
    Address address{};
    unsigned bits = 128;
    std::uint16_t port = 0;
  };

  static bool ToAddress(const std::string& text, Address& address, bool& is_v4);
  static bool ToAddress(const sockaddr& socket, Address& address, std::uint16_t& port);

  Status AddEntry(const std::string& text);
  Status AddStore(const std::string& url, const char* setting);
  const NameEntry* FindName(const ModelUri& uri) const;
  bool InNetworks(const Address& address, std::uint16_t port) const;
  Status CheckAddress(const Address& address, std::uint16_t port, const ModelUri& uri) const;

  std::vector<NameEntry> names_;
  std::vector<NetworkEntry> networks_;
  std::vector<std::string> folders_;
};

}  // namespace millrace
