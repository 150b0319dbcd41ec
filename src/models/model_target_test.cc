#include "models/model_target.h"

#include <gtest/gtest.h>

#include <random>

namespace millrace {
namespace {

VersionSpec V(const std::string& version) { return {version, "file:///m/" + version, ""}; }

ModelEvent Event(ModelAction action, const std::string& version, double percent = 0) {
  ModelEvent event;
  event.model_id = "m";
  event.action = action;
  if (!version.empty()) event.version = V(version);
  event.canary_percent = percent;
  return event;
}

ModelTarget After(const std::vector<ModelEvent>& events) {
  ModelTarget target;
  for (const ModelEvent& event : events) ApplyEvent(event, &target);
  return target;
}

TEST(ModelTarget, PromotionServesAndRemembersWhatServed) {
  const ModelTarget target =
      After({Event(ModelAction::kPromote, "1"), Event(ModelAction::kPromote, "2"),
             Event(ModelAction::kPromote, "3")});
  EXPECT_EQ(target.stable, V("3"));
  EXPECT_EQ(target.earlier, (std::vector<VersionSpec>{V("1"), V("2")}));
}

TEST(ModelTarget, RollbackServesTheEarlierVersionAndFallsBackOnNoVersionTwice) {
  const ModelTarget target =
      After({Event(ModelAction::kPromote, "1"), Event(ModelAction::kPromote, "2"),
             Event(ModelAction::kRollback, "1")});
  EXPECT_EQ(target.stable, V("1"));
  EXPECT_EQ(target.earlier, (std::vector<VersionSpec>{V("2")}));
}

TEST(ModelTarget, CanaryEndsWithAPromotionWithZeroPercentOrWithItsRetirement) {
  const std::vector<ModelEvent> begun = {Event(ModelAction::kPromote, "1"),
                                         Event(ModelAction::kCanary, "2", 10)};
  EXPECT_EQ(After(begun).canary, V("2"));
  EXPECT_EQ(After(begun).canary_percent, 10);
  for (const ModelEvent& end :
       {Event(ModelAction::kPromote, "2"), Event(ModelAction::kCanary, "2", 0),
        Event(ModelAction::kRetire, "2")}) {
    std::vector<ModelEvent> events = begun;
    events.push_back(end);
    EXPECT_FALSE(After(events).canary.has_value()) << ModelActionName(end.action);
    EXPECT_FALSE(After(events).retired);
  }
}

TEST(ModelTarget, RetiringTheServingVersionOrNoneRetiresTheModel) {
  for (const char* const version : {"", "2"}) {
    const ModelTarget target =
        After({Event(ModelAction::kPromote, "1"), Event(ModelAction::kPromote, "2"),
               Event(ModelAction::kRetire, version)});
    EXPECT_TRUE(target.retired);
    EXPECT_FALSE(target.stable.has_value());
    EXPECT_TRUE(target.earlier.empty());
  }
  EXPECT_FALSE(After({Event(ModelAction::kRetire, ""), Event(ModelAction::kPromote, "1")}).retired);
}

TEST(ModelTarget, RetiringAnEarlierVersionTakesItFromTheFallbacksOnly) {
  const ModelTarget target =
      After({Event(ModelAction::kPromote, "1"), Event(ModelAction::kPromote, "2"),
             Event(ModelAction::kRetire, "1")});
  EXPECT_EQ(target.stable, V("2"));
  EXPECT_TRUE(target.earlier.empty());
}

TEST(ModelTarget, WhatWasRetiredBeforeAnyPromotionIsNotTheRepositorysToChoose) {
  const std::vector<ModelEvent> events = {Event(ModelAction::kRetire, "2")};
  EXPECT_FALSE(After(events).retired);
  EXPECT_EQ(After(events).retired_versions, (std::vector<std::string>{"2"}));
  EXPECT_TRUE(After({events[0], Event(ModelAction::kPromote, "2")}).retired_versions.empty());
}

// A worker that starts after the topic was compacted sees the last event alone.
TEST(ModelTarget, TheLastEventAloneSaysWhatServesWhenItCarriesIt) {
  std::mt19937 random(20261121);
  for (int round = 0; round < 200; ++round) {
    ModelTarget target;
    ModelEvent event;
    for (int i = 0; i < 12; ++i) {
      const auto action = static_cast<ModelAction>(random() % kModelActions);
      event = Event(action, std::to_string(1 + random() % 4), 25);
      if (action == ModelAction::kRetire) event.version = {};
      event.stable = target.stable;
      ApplyEvent(event, &target);
    }
    ModelTarget late;
    ApplyEvent(event, &late);
    EXPECT_EQ(late.stable, target.stable) << "round " << round;
    EXPECT_EQ(late.retired, target.retired) << "round " << round;
    if (event.action == ModelAction::kCanary) {
      EXPECT_EQ(late.canary, target.canary);
    }
  }
}

}  // namespace
}  // namespace millrace
