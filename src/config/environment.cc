#include "config/environment.h"

#include <algorithm>
#include <array>

namespace millrace {

std::string EnvironmentName(std::string_view path) {
  std::string name(kEnvironmentPrefix);
  for (const char c : path) {
    if (c >= 'a' && c <= 'z') {
      name.push_back(static_cast<char>(c - 'a' + 'A'));
    } else if ((c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) {
      name.push_back(c);
    } else {
      name.push_back('_');
    }
  }
  return name;
}

bool IsReservedEnvironmentName(std::string_view name) {
  static constexpr std::array<std::string_view, 5> kNames = {
      "MILLRACE_ORT_LIBRARY", "MILLRACE_CACHE", "MILLRACE_CRASH_POINT", "MILLRACE_BINARY",
      "MILLRACE_SUPERVISED"};
  // Kubernetes sets the last two for a service that is called millrace.
  static constexpr std::array<std::string_view, 3> kPrefixes = {
      "MILLRACE_TEST_", "MILLRACE_SERVICE_", "MILLRACE_PORT"};
  return std::find(kNames.begin(), kNames.end(), name) != kNames.end() ||
         std::any_of(kPrefixes.begin(), kPrefixes.end(),
                     [name](std::string_view prefix) { return name.starts_with(prefix); });
}

}  // namespace millrace
