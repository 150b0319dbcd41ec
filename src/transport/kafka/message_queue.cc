#include "transport/kafka/message_queue.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace millrace::kafka {
namespace {

constexpr std::uint64_t kOne = 1;  // What an eventfd is written.

}  // namespace

MessageQueue::~MessageQueue() {
  Close();
  if (wake_fd_ >= 0) ::close(wake_fd_);
}

Status MessageQueue::Open(rd_kafka_t* client) {
  wake_fd_ = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (wake_fd_ < 0) {
    return {StatusCode::kResourceExhausted, fmt::format("no eventfd: {}", std::strerror(errno))};
  }
  queue_.reset(rd_kafka_queue_new(client));
  WakeOn(queue_.get());
  return {};
}

void MessageQueue::WakeOn(rd_kafka_queue_t* other) {
  rd_kafka_queue_io_event_enable(other, wake_fd_, &kOne, sizeof kOne);
}

void MessageQueue::Close() {
  for (; !empty(); PopFront()) rd_kafka_message_destroy(front());
  queue_.reset();
}

bool MessageQueue::Fill() {
  if (!empty()) return true;
  taken_.resize(kTake);
  next_ = 0;
  const ssize_t count = rd_kafka_consume_batch_queue(queue_.get(), 0, taken_.data(), kTake);
  taken_.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
  return !taken_.empty();
}

void MessageQueue::DropPartition(std::int32_t partition) {
  const auto first = taken_.begin() + static_cast<std::ptrdiff_t>(next_);
  const auto stale = std::stable_partition(
      first, taken_.end(),
      [partition](const rd_kafka_message_t* message) { return message->partition != partition; });
  for (auto it = stale; it != taken_.end(); ++it) rd_kafka_message_destroy(*it);
  taken_.erase(stale, taken_.end());
}

void MessageQueue::Wait(Millis max_wait) {
  if (!woken_.exchange(false)) {
    pollfd wait{wake_fd_, POLLIN, 0};
    ::poll(&wait, 1, static_cast<int>(max_wait.count()));
    woken_.store(false);
  }
  std::uint64_t count = 0;
  const ssize_t ignored = ::read(wake_fd_, &count, sizeof count);
  static_cast<void>(ignored);  // Nothing to read is fine: the wait timed out.
}

void MessageQueue::Wake() {
  woken_.store(true);
  const ssize_t ignored = ::write(wake_fd_, &kOne, sizeof kOne);
  static_cast<void>(ignored);  // A full counter wakes as well.
}

}  // namespace millrace::kafka
