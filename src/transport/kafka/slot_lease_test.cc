#include "transport/kafka/slot_lease.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <optional>

namespace millrace::kafka {
namespace {

// Of this process's own, so that tests that run at the same time do not meet.
std::string Scope() { return "test/" + std::to_string(getpid()); }

TEST(SlotLeaseTest, ConfiguredNameIsTakenAsItIs) {
  const auto lease = SlotLease::Take("blue-7", Scope());
  ASSERT_TRUE(lease.ok());
  EXPECT_EQ(lease->name(), "blue-7");
}

TEST(SlotLeaseTest, WorkersOfOneHostGetDifferentNames) {
  const auto first = SlotLease::Take("", Scope());
  const auto second = SlotLease::Take("", Scope());
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_NE(first->name(), second->name());
}

TEST(SlotLeaseTest, NameOfAWorkerThatDiedIsItsSuccessors) {
  const std::string scope = Scope() + "/died";
  int pipe_fds[2];
  ASSERT_EQ(::pipe(pipe_fds), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const auto lease = SlotLease::Take("", scope);
    const std::string name = lease.ok() ? lease->name() : "";
    const ssize_t written = ::write(pipe_fds[1], name.data(), name.size());
    _exit(written > 0 ? 0 : 1);  // No destructor runs, as with kill -9.
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  char name[256] = {};
  ASSERT_GT(::read(pipe_fds[0], name, sizeof name - 1), 0);
  ::close(pipe_fds[0]);
  ::close(pipe_fds[1]);
  const auto successor = SlotLease::Take("", scope);
  ASSERT_TRUE(successor.ok());
  EXPECT_EQ(successor->name(), name);
}

TEST(SlotLeaseTest, GroupsDoNotShareNames) {
  const auto first = SlotLease::Take("", Scope() + "/a");
  const auto second = SlotLease::Take("", Scope() + "/b");
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ(first->name(), second->name());
}

}  // namespace
}  // namespace millrace::kafka
