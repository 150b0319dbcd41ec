// What the local log costs per record: producing a backlog, polling it, committing units of work.
//
// Not part of the normal build. MILLRACE_BENCH_DIR names the folder to use (default: under the
// system's temporary one); its disk is part of what is measured.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "transport/local/local_log.h"

namespace millrace {
namespace {

constexpr std::size_t kBacklog = 400'000;
constexpr std::size_t kRequestBytes = 500;
constexpr std::size_t kResultBytes = 300;
constexpr std::size_t kHeaderBytes = 120;
constexpr std::size_t kProduceBatch = 1000;
constexpr std::size_t kUnit = 4096;

class IgnoringListener final : public Source::Listener {
 public:
  void OnAssigned(std::span<const PartitionAssignment>) override {}
  void OnRevoked(std::span<const PartitionSlot>) override {}
  void OnLost(std::span<const PartitionSlot>) override {}
  void OnPositionAdvanced(PartitionSlot, Offset) override {}
};

std::string Folder() {
  const char* chosen = std::getenv("MILLRACE_BENCH_DIR");
  const std::filesystem::path base =
      chosen != nullptr ? std::filesystem::path(chosen) : std::filesystem::temp_directory_path();
  return (base / "millrace-local-log-bench").string();
}

std::unique_ptr<Log> FreshLog() {
  std::filesystem::remove_all(Folder());
  LocalLogOptions options;
  options.dir = Folder();
  options.durability = LocalDurability::kNormal;
  auto log = OpenLocalLog(options);
  if (!log.ok()) std::abort();
  for (const TopicSpec& spec : ContractTopics({}, 1.0)) {
    if (!(*log)->CreateTopic(spec).ok()) std::abort();
  }
  return std::move(*log);
}

// Appends until the log holds kBacklog more requests.
void Produce(Log& log) {
  auto producer = log.NewProducer();
  if (!producer.ok()) std::abort();
  const std::string value(kRequestBytes, 'v');
  std::vector<std::string> keys(kProduceBatch);
  std::vector<ProducerRecord> records(kProduceBatch);
  for (std::size_t done = 0; done < kBacklog; done += kProduceBatch) {
    for (std::size_t i = 0; i < kProduceBatch; ++i) {
      keys[i] = "tenant-" + std::to_string(i % 200) + "|model";
      records[i].key = keys[i];
      records[i].value = value;
    }
    if (!(*producer)->Append("inference.requests", records).ok()) std::abort();
  }
}

void BM_Produce(benchmark::State& state) {
  const auto log = FreshLog();
  for (auto _ : state) Produce(*log);
  state.SetItemsProcessed(static_cast<std::int64_t>(kBacklog) * state.iterations());
}
BENCHMARK(BM_Produce)->Iterations(1)->Unit(benchmark::kMillisecond)->UseRealTime();

void BM_Poll(benchmark::State& state) {
  const auto log = FreshLog();
  Produce(*log);
  auto worker = log->OpenWorker({.group = "bench"});
  if (!worker.ok()) std::abort();
  IgnoringListener listener;
  if (!worker->source->Start(&listener).ok()) std::abort();
  RecordBatch batch;
  std::size_t read = 0;
  for (auto _ : state) {
    while (read < kBacklog) {
      if (!worker->source->Poll({}, &batch).ok()) std::abort();
      read += batch.records.size();
    }
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(read));
}
BENCHMARK(BM_Poll)->Iterations(1)->Unit(benchmark::kMillisecond)->UseRealTime();

void BM_Commit(benchmark::State& state) {
  const auto log = FreshLog();
  auto worker = log->OpenWorker({.group = "bench"});
  if (!worker.ok()) std::abort();
  IgnoringListener listener;
  if (!worker->source->Start(&listener).ok()) std::abort();
  OutputChunk chunk;
  std::vector<OutputRecord> outputs(kUnit);
  std::vector<const OutputRecord*> pointers;
  std::vector<PartitionPosition> positions(64);
  const std::string value(kResultBytes, 'v');
  const std::string headers(kHeaderBytes, 'h');
  std::size_t committed = 0;
  for (auto _ : state) {
    for (; committed < kBacklog; committed += kUnit) {
      state.PauseTiming();
      chunk.bytes.Clear();
      pointers.clear();
      for (std::size_t i = 0; i < kUnit; ++i) {
        const std::string key = "request-" + std::to_string(committed + i);
        const auto at = [&] { return static_cast<std::uint32_t>(chunk.bytes.size()); };
        outputs[i].chunk = &chunk;
        outputs[i].key = {at(), static_cast<std::uint32_t>(key.size())};
        chunk.bytes.Append(key);
        outputs[i].headers = {at(), kHeaderBytes};
        chunk.bytes.Append(headers);
        outputs[i].value = {at(), kResultBytes};
        chunk.bytes.Append(value);
        pointers.push_back(&outputs[i]);
      }
      for (std::size_t p = 0; p < positions.size(); ++p) {
        positions[p] = {
            PartitionSlot(static_cast<std::int32_t>(p)), Epoch(1),
            Offset(static_cast<std::int64_t>(committed < kUnit ? 0 : committed - kUnit)),
            Offset(static_cast<std::int64_t>(committed))};
      }
      state.ResumeTiming();
      const CommitResult result = worker->committer->Commit({pointers, positions});
      if (result.outcome != CommitOutcome::kCommitted) std::abort();
    }
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(committed));
}
BENCHMARK(BM_Commit)->Iterations(1)->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace
}  // namespace millrace

BENCHMARK_MAIN();
