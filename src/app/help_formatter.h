// How help texts look: grouped, wrapped, without what a reader does not need.
#pragma once

#include <memory>

namespace CLI {
class FormatterBase;
}

namespace millrace {

std::shared_ptr<CLI::FormatterBase> MakeHelpFormatter();

}  // namespace millrace
