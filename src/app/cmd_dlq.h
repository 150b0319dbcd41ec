// The parts of `millrace dlq` that have files of their own. Each adds its subcommand to `dlq`.
#pragma once

#include "app/command.h"

namespace millrace {

void RegisterDlqReplay(CLI::App& dlq, CommandTable& table);
void RegisterDlqPark(CLI::App& dlq, CommandTable& table);

}  // namespace millrace
