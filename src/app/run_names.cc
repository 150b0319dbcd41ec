#include "app/run_names.h"

#include <fmt/format.h>
#include <unistd.h>

#include <atomic>

#include "base/clock.h"
#include "config/loader.h"

namespace millrace {

bool IsGiven(const CommandContext& context, const char* path) {
  const LoadedSetting* const setting =
      context.loaded == nullptr ? nullptr : context.loaded->Find(path);
  return setting != nullptr && setting->origin != "default";
}

std::string UniqueName(const std::string& word) {
  static std::atomic<int> calls{0};
  const std::string count = std::to_string(calls.fetch_add(1));
  return fmt::format("{}-{:x}-{}{}", word, SystemClock().WallNow(), ::getpid(),
                     count == "0" ? "" : "-" + count);
}

TopicOptions TopicsNamed(const std::string& prefix) {
  TopicOptions topics;
  topics.requests = prefix + ".requests";
  topics.results = prefix + ".results";
  topics.dlq = prefix + ".dlq";
  topics.events = prefix + ".events";
  topics.status = prefix + ".status";
  topics.shadow = prefix + ".shadow";
  return topics;
}

}  // namespace millrace
