#include "gateway/options.h"

namespace millrace {

void DescribeSettings(SettingSet& set, HttpOptions& options) {
  set.String("http.admin_listen", &options.admin_listen,
             "Address and port of the admin listener (/metrics, /livez, /readyz); empty for none, "
             "port 0 for any free one. It has no authentication: keep it off public networks.");
}

}  // namespace millrace
