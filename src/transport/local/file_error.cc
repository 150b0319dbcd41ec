#include "transport/local/file_error.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>

namespace millrace::local {

Status FileError(const std::string& path, const char* what, int error) {
  const bool full = error == ENOSPC || error == EDQUOT;
  return {full ? StatusCode::kResourceExhausted : StatusCode::kUnavailable,
          fmt::format("local log: cannot {} {}: {}{}", what, path, std::strerror(error),
                      full ? "; free space there" : "")};
}

}  // namespace millrace::local
