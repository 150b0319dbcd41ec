// The parts of `millrace models`, each in a file of its own.
#pragma once

namespace CLI {
class App;
}

namespace millrace {

struct CommandTable;

void RegisterModelEvents(CLI::App& models, CommandTable& table);

}  // namespace millrace
