#include "transport/kafka/assignment.h"

#include <gtest/gtest.h>

namespace millrace::kafka {
namespace {

constexpr PartitionSlot kSlot{3};

PartitionPosition At(PartitionSlot slot, Epoch epoch, std::int64_t base, std::int64_t next) {
  return {slot, epoch, Offset(base), Offset(next)};
}

TEST(AssignmentTest, EachAssignmentOpensAnEpoch) {
  Assignment assignment;
  const Epoch first = assignment.Open(kSlot);
  assignment.Close(kSlot);
  EXPECT_GT(assignment.Open(kSlot), first);
}

TEST(AssignmentTest, WorkOfAnOlderEpochIsNotOurs) {
  Assignment assignment;
  const Epoch old = assignment.Open(kSlot);
  const PartitionPosition position = At(kSlot, old, 0, 10);
  EXPECT_TRUE(assignment.NotOurs({&position, 1}).empty());
  assignment.Close(kSlot);
  EXPECT_EQ(assignment.NotOurs({&position, 1}), std::vector{kSlot});
  assignment.Open(kSlot);
  EXPECT_EQ(assignment.NotOurs({&position, 1}), std::vector{kSlot});
}

TEST(AssignmentTest, LagKnowsTheAgeOfTheOldestRecordThatWaits) {
  Assignment assignment;
  const Epoch epoch = assignment.Open(kSlot);
  EXPECT_EQ(assignment.Lags().at(0).oldest_uncommitted, 0);
  assignment.OnHandedOut(kSlot, Offset(0), 1'000);
  assignment.OnHandedOut(kSlot, Offset(50), 2'000);
  assignment.OnHandedOut(kSlot, Offset(90), 3'000);
  EXPECT_EQ(assignment.Lags().at(0).oldest_uncommitted, 1'000);
  const PartitionPosition middle = At(kSlot, epoch, 0, 60);
  assignment.OnCommitted({&middle, 1});
  EXPECT_EQ(assignment.Lags().at(0).oldest_uncommitted, 2'000);
  const PartitionPosition end = At(kSlot, epoch, 60, 90);
  assignment.OnCommitted({&end, 1});
  EXPECT_EQ(assignment.Lags().at(0).oldest_uncommitted, 3'000);
}

}  // namespace
}  // namespace millrace::kafka
