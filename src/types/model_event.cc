#include "types/model_event.h"

namespace millrace {

std::string_view ModelActionName(ModelAction action) {
  switch (action) {
    case ModelAction::kPromote:
      return "promote";
    case ModelAction::kRollback:
      return "rollback";
    case ModelAction::kRetire:
      return "retire";
    case ModelAction::kShadow:
      return "shadow";
    case ModelAction::kCanary:
      return "canary";
  }
  return "unknown";
}

std::string_view ModelStateName(ModelState state) {
  switch (state) {
    case ModelState::kDownloading:
      return "downloading";
    case ModelState::kProbing:
      return "probing";
    case ModelState::kWarming:
      return "warming";
    case ModelState::kServing:
      return "serving";
    case ModelState::kFailed:
      return "failed";
    case ModelState::kRetired:
      return "retired";
  }
  return "unknown";
}

}  // namespace millrace
