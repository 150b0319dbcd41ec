// Variables in the scalars of a settings file. Pure; any thread may call it.
//
//   ${NAME}            the variable; an error when it is not set
//   ${NAME:-default}   the default when it is not set or empty; may hold variables itself
//   ${NAME:?message}   an error with this message when it is not set or empty
//   $$                 a dollar sign; one that stands before anything else is left as it is
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"

namespace millrace {

// What a variable holds; nothing when it is not set.
using VariableLookup = std::function<std::optional<std::string>(const std::string& name)>;

// `text` with its variables replaced. What a variable holds is not looked at again.
// Errors: kInvalidArgument, with what was expected.
Result<std::string> SubstituteVariables(std::string_view text, const VariableLookup& lookup);

}  // namespace millrace
