// What must hold between settings, each on its own being within its bounds.
//
// One named list, so that the checks at start, the reference and the tests agree on it. Constants.
#pragma once

#include <span>
#include <string_view>

namespace millrace {

// `smaller` may be at most `larger`; both are settings with a number, a size or a duration.
struct SettingOrder {
  std::string_view smaller;
  std::string_view larger;
  std::string_view why;
};

std::span<const SettingOrder> SettingOrders();

}  // namespace millrace
