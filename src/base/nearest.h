// The known name that a misspelt one most likely means. Pure; any thread may call it.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace millrace {

// The candidate with the fewest edits (insert, delete, replace, swap of neighbours, ignoring case)
// to `name`; empty when none is near enough to be worth naming. The first one wins a tie.
std::string NearestName(std::string_view name, std::span<const std::string> candidates);

// "; did you mean 'batch.max_rows'?", or empty.
std::string DidYouMean(std::string_view name, std::span<const std::string> candidates);

}  // namespace millrace
