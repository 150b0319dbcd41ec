// Clock: the only way logic learns the time, so that tests own it.
//
// MonoTime measures durations and timers; WallMillis stamps records and is never subtracted for a
// duration that a decision rests on. Implementations are thread-safe.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace millrace {

using MonoTime = std::chrono::steady_clock::time_point;
using Nanos = std::chrono::nanoseconds;
using Micros = std::chrono::microseconds;
using Millis = std::chrono::milliseconds;

// Milliseconds since the Unix epoch.
using WallMillis = std::int64_t;

class Clock {
 public:
  virtual ~Clock() = default;
  virtual MonoTime Now() const = 0;
  virtual WallMillis WallNow() const = 0;
  // CPU time that the calling thread has used; only differences mean something. Costs a system
  // call, unlike the others.
  virtual Nanos ThreadCpu() const = 0;
};

// The machine's clocks. The returned object lives for the whole process.
const Clock& SystemClock();

// A clock that stands still until it is moved.
class ManualClock final : public Clock {
 public:
  MonoTime Now() const override { return MonoTime(Nanos(mono_.load(std::memory_order_relaxed))); }
  WallMillis WallNow() const override {
    return kWallStart + mono_.load(std::memory_order_relaxed) / 1'000'000;
  }
  Nanos ThreadCpu() const override { return Nanos(mono_.load(std::memory_order_relaxed)); }
  void Advance(Nanos by) { mono_.fetch_add(by.count(), std::memory_order_relaxed); }

 private:
  static constexpr WallMillis kWallStart = 1'700'000'000'000;
  std::atomic<std::int64_t> mono_{0};
};

}  // namespace millrace
