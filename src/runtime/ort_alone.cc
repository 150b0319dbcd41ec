#include "runtime/ort_alone.h"

#include <time.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <utility>
#include <vector>

#include "types/element_type.h"

namespace millrace {
namespace {

constexpr std::size_t kPoolRows = 16384;
constexpr std::size_t kMaxPoolBytes = std::size_t{64} << 20;
constexpr int kWarmUpRuns = 10;
constexpr std::uint64_t kSeed = 20240601;  // Fixed: two measurements see the same rows.

// Rows of one input, one after the other.
std::vector<std::byte> RandomRows(const InputLayout& input, std::size_t rows) {
  std::vector<std::byte> pool(rows * input.bytes);
  std::mt19937_64 random(kSeed);
  std::uniform_real_distribution<double> real(0.0, 1.0);
  std::uniform_int_distribution<int> whole(0, 9);
  DispatchElement(input.type, [&]<class T>(std::type_identity<T>) {
    for (std::size_t at = 0; at + sizeof(T) <= pool.size(); at += sizeof(T)) {
      T value{};
      if constexpr (std::is_floating_point_v<T>) {
        value = static_cast<T>(real(random));
      } else if constexpr (std::is_same_v<T, Float16>) {
        value = NearestFloat16(real(random));
      } else {
        value = ElementOf<T>(std::is_same_v<T, bool> ? whole(random) % 2 : whole(random));
      }
      std::memcpy(pool.data() + at, &value, sizeof value);
    }
  });
  return pool;
}

// Gives an input whose shape is each row's own one for all.
void CloseShape(InputLayout& input) {
  if (!input.dynamic) return;
  input.row_shape = ClosedShape(std::move(input.row_shape), kMeasuredDim);
  input.elements = ElementCount(input.row_shape).value_or(0);
  input.bytes = input.elements * ElementBytes(input.type);
}

Nanos ThreadCpuNow() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return std::chrono::seconds(now.tv_sec) + Nanos(now.tv_nsec);
}

}  // namespace

Result<OrtAloneRate> MeasureRowsPerSecond(Session& session, std::size_t batch_rows,
                                          Millis duration) {
  RowLayout layout = session.row_layout();
  for (InputLayout& input : layout.inputs) CloseShape(input);
  std::size_t row_bytes = 1;
  for (const InputLayout& input : layout.inputs) row_bytes += input.bytes;
  const std::size_t fits = std::max<std::size_t>(1, kMaxPoolBytes / row_bytes);
  const std::size_t pool_rows = std::max(batch_rows, std::min(kPoolRows, fits));
  std::vector<std::vector<std::byte>> pools;
  for (const InputLayout& input : layout.inputs) pools.push_back(RandomRows(input, pool_rows));
  Result<std::unique_ptr<Runner>> made = session.NewRunner();
  if (!made.ok()) return made.status();
  Runner& runner = **made;
  for (std::size_t i = 0; i < layout.inputs.size(); ++i) {
    const InputLayout& input = layout.inputs[i];
    if (!input.dynamic) continue;
    MILLRACE_RETURN_IF_ERROR(runner.SetRowShape(i, input.row_shape, batch_rows));
  }

  std::size_t next = 0;
  const auto next_batch = [&] {
    if (next + batch_rows > pool_rows) next = 0;
    for (std::size_t i = 0; i < pools.size(); ++i) {
      const std::size_t bytes = layout.inputs[i].bytes;
      std::memcpy(runner.Input(i), pools[i].data() + next * bytes, batch_rows * bytes);
    }
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
