#include "app/topic_setup.h"

#include <algorithm>
#include <thread>

#include "base/clock.h"

namespace millrace {
namespace {

constexpr Millis kPause{20};
constexpr Millis kPatience{10'000};

bool Holds(const std::vector<TopicInfo>& topics, const std::string& name) {
  return std::any_of(topics.begin(), topics.end(),
                     [&](const TopicInfo& topic) { return topic.spec.name == name; });
}

}  // namespace

Status MakeMissingTopics(Log& log, std::span<const TopicSpec> specs) {
  std::vector<std::string> names;
  for (const TopicSpec& spec : specs) names.push_back(spec.name);
  const auto existing = log.DescribeTopics(names);
  if (!existing.ok()) return existing.status();
  for (const TopicSpec& spec : specs) {
    if (Holds(*existing, spec.name)) continue;
    const Status made = log.CreateTopic(spec);
    if (made.code() != StatusCode::kAlreadyExists) MILLRACE_RETURN_IF_ERROR(made);
  }
  return WaitForTopics(log, names);
}

Status WaitForTopics(Log& log, const std::vector<std::string>& names) {
  const MonoTime deadline = SystemClock().Now() + kPatience;
  while (true) {
    const auto topics = log.DescribeTopics(names);
    const StatusCode code = topics.status().code();
    if (code != StatusCode::kOk && code != StatusCode::kUnavailable) return topics.status();
    if (topics.ok() && std::all_of(names.begin(), names.end(),
                                   [&](const std::string& name) { return Holds(*topics, name); })) {
      return Status::Ok();
    }
    if (SystemClock().Now() > deadline) {
      return topics.ok() ? Status(StatusCode::kUnavailable,
                                  "topics were made, and the cluster does not know them yet")
                         : topics.status();
    }
    std::this_thread::sleep_for(kPause);
  }
}

}  // namespace millrace
