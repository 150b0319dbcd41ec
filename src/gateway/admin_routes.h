// AnswerAdmin: which admin request gets which answer; the connection behind it is not known here.
// Internal to gateway. Called on the admin thread.
#pragma once

#include <string>
#include <string_view>

#include "gateway/admin_server.h"

namespace millrace {

struct AdminAnswer {
  unsigned status = 200;
  std::string_view content_type;
  std::string body;
  std::string_view allow;  // For 405.
};

// `method` is "GET" or another word as sent, `target` the path with its query. A HEAD request is
// answered like a GET; leaving out the body is the connection's work. What the view throws becomes
// a 500.
AdminAnswer AnswerAdmin(AdminView& view, std::string_view method, std::string_view target);

// {"error","reason"}. REQUIRES: both are plain text that JSON need not escape.
AdminAnswer AdminError(unsigned status, std::string_view reason, std::string_view error);

}  // namespace millrace
