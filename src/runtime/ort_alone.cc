#include "runtime/ort_alone.h"

#include <time.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

namespace millrace {
namespace {

constexpr std::size_t kPoolRows = 16384;
constexpr std::size_t kMaxPoolBytes = std::size_t{64} << 20;
constexpr int kWarmUpRuns = 10;
constexpr std::uint64_t kSeed = 20240601;  // Fixed: two measurements see the same rows.

template <class T, class Distribution>
void Fill(std::vector<std::byte>& pool, Distribution distribution) {
  std::mt19937_64 random(kSeed);
  for (std::size_t at = 0; at + sizeof(T) <= pool.size(); at += sizeof(T)) {
    const T value = static_cast<T>(distribution(random));
    std::memcpy(pool.data() + at, &value, sizeof value);
  }
}

std::vector<std::byte> RandomRows(const RowLayout& layout, std::size_t rows) {
  std::vector<std::byte> pool(rows * layout.bytes);
  const std::uniform_real_distribution<double> real(0.0, 1.0);
  const std::uniform_int_distribution<int> whole(0, 9);
  switch (layout.type) {
    case ElementType::kFloat64:
      Fill<double>(pool, real);
      break;
    case ElementType::kInt32:
      Fill<std::int32_t>(pool, whole);
      break;
    case ElementType::kInt64:
      Fill<std::int64_t>(pool, whole);
      break;
    default:
      Fill<float>(pool, real);
      break;
  }
  return pool;
}

Nanos ThreadCpuNow() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return std::chrono::seconds(now.tv_sec) + Nanos(now.tv_nsec);
}

}  // namespace

Result<OrtAloneRate> MeasureRowsPerSecond(Session& session, std::size_t batch_rows,
                                          Millis duration) {
  const RowLayout& layout = session.row_layout();
  const std::size_t fits = std::max<std::size_t>(1, kMaxPoolBytes / layout.bytes);
  const std::size_t pool_rows = std::max(batch_rows, std::min(kPoolRows, fits));
  const std::vector<std::byte> pool = RandomRows(layout, pool_rows);
  Result<std::unique_ptr<Runner>> made = session.NewRunner();
  if (!made.ok()) return made.status();
  Runner& runner = **made;

  std::size_t next = 0;
  const auto next_batch = [&] {
    if (next + batch_rows > pool_rows) next = 0;
    std::memcpy(runner.Input(), pool.data() + next * layout.bytes, batch_rows * layout.bytes);
    next += batch_rows;
  };
  for (int i = 0; i < kWarmUpRuns; ++i) {
    next_batch();
    MILLRACE_RETURN_IF_ERROR(runner.Run(batch_rows));
  }

  const Clock& clock = SystemClock();
  const MonoTime end = clock.Now() + duration;
  Nanos wall{0};
  Nanos cpu{0};
  OrtAloneRate rate;
  do {
    next_batch();
    const Nanos cpu_before = ThreadCpuNow();
    const MonoTime before = clock.Now();
    MILLRACE_RETURN_IF_ERROR(runner.Run(batch_rows));
    wall += clock.Now() - before;
    cpu += ThreadCpuNow() - cpu_before;
    rate.rows += static_cast<std::int64_t>(batch_rows);
  } while (clock.Now() < end);
  const auto rows = static_cast<double>(rate.rows);
  rate.rows_per_second = rows / std::max(1e-9, std::chrono::duration<double>(wall).count());
  rate.cpu_us_per_row = std::chrono::duration<double, std::micro>(cpu).count() / rows;
  return rate;
}

}  // namespace millrace
