// Settings of the HTTP listeners.
#pragma once

#include <string>

#include "base/settings.h"

namespace millrace {

struct HttpOptions {
  std::string admin_listen = "127.0.0.1:9464";  // Empty: no admin listener.
};

void DescribeSettings(SettingSet& set, HttpOptions& options);

}  // namespace millrace
