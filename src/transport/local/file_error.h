// What a failed call on a file of the local log means. Internal to transport/local.
#pragma once

#include <string>

#include "base/status.h"

namespace millrace::local {

// "local log: cannot <what> <path>: <error>". kResourceExhausted when the disk is full, else
// kUnavailable. `error` is an errno.
Status FileError(const std::string& path, const char* what, int error);

}  // namespace millrace::local
