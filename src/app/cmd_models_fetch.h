// `millrace models fetch`, which lives in a file of its own.
#pragma once

#include "app/command.h"

namespace millrace {

void RegisterModelsFetch(CLI::App& models, CommandTable& table);

}  // namespace millrace
