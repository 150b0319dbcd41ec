// The worker as a whole, on a real local log with the test engine.
#include "pipeline/worker.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <new>
#include <set>
#include <thread>

#include "runtime/test_support.h"
#include "transport/local/local_log.h"

// A sanitizer has its own operator new, and its build is not the one whose cost matters.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MILLRACE_COUNTS_ALLOCATIONS 0
#else
#define MILLRACE_COUNTS_ALLOCATIONS 1
#endif

namespace {

// Counts what our own code allocates while it is switched on. Libraries written in C (SQLite) do
// not go through operator new and have their own bounds.
std::atomic<bool> counting{false};
std::atomic<std::size_t> allocations{0};

#if MILLRACE_COUNTS_ALLOCATIONS
void* CountedNew(std::size_t size) noexcept {
  if (counting.load(std::memory_order_relaxed)) {
    allocations.fetch_add(1, std::memory_order_relaxed);
  }
  return std::malloc(size == 0 ? 1 : size);
}

void* CountedNewOrThrow(std::size_t size) {
  void* const memory = CountedNew(size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
#endif

}  // namespace

#if MILLRACE_COUNTS_ALLOCATIONS
void* operator new(std::size_t size) { return CountedNewOrThrow(size); }
void* operator new[](std::size_t size) { return CountedNewOrThrow(size); }
void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return CountedNew(size); }
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept { return CountedNew(size); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { std::free(memory); }
void operator delete[](void* memory, const std::nothrow_t&) noexcept { std::free(memory); }
#endif

namespace millrace {
namespace {

constexpr const char* kModel = "elements=4\noutputs=2\nfail_value=13\nhang_value=-1\n";

class WorkerTest : public ::testing::Test {
 protected:
  WorkerTest() : engine_(NewTestEngine()) {
    LocalLogOptions local;
    local.dir = (folder_.path() / "log").string();
    local.durability = LocalDurability::kNormal;
    log_ = OpenLocalLog(local).value();
    for (const TopicSpec& spec : ContractTopics(options_.topics, 0.05)) {
      EXPECT_TRUE(log_->CreateTopic(spec).ok());
    }
    options_.group = "g";
    options_.executor.threads = 2;
  }

  std::unique_ptr<Worker> NewWorker() {
    ModelVersion version;
    version.model_id = "m";
    version.version = "3";
    version.path = folder_.Write("m/3/model.test", model_);
    version.engine = kTestEngine;
    Result<std::shared_ptr<const LoadedModel>> loaded =
        LoadModel(*engine_, version, SessionOptions{});
    EXPECT_TRUE(loaded.ok()) << loaded.status().ToString();
    std::vector<ModelToServe> models(1);
    models[0].loaded = std::move(loaded).value();
    models[0].policy = policy_;
    models[0].run_limit = run_limit_;
    Result<WorkerLog> log =
        log_->OpenWorker({.group = "g", .topics = options_.topics, .mode = options_.delivery.mode});
    EXPECT_TRUE(log.ok()) << log.status().ToString();
    auto worker =
        std::make_unique<Worker>(options_, SystemClock(), registry_, std::move(log).value());
    EXPECT_TRUE(worker->Serve(std::move(models)).ok());
    return worker;
  }

  // Requests first..first+count-1, each with its number as the first input.
  void Send(int first, int count, const std::string& extra = "") {
    std::unique_ptr<Producer> producer = log_->NewProducer().value();
    ByteBuffer headers;
    AppendHeader("model_id", "m", headers);
    std::vector<std::string> values, keys;
    for (int i = first; i < first + count; ++i) {
      keys.push_back("t" + std::to_string(i % 5) + "|m");
      values.push_back(R"({"request_id":"r)" + std::to_string(i) + R"(","tenant_id":"t)" +
                       std::to_string(i % 5) + R"(","input":[)" + std::to_string(i) + ",0,0,0]" +
                       extra + "}");
    }
    std::vector<ProducerRecord> records(values.size());
    for (std::size_t i = 0; i < values.size(); ++i) {
      records[i].key = keys[i];
      records[i].value = values[i];
      records[i].headers = HeadersView(headers.view());
    }
    ASSERT_TRUE(producer->Append(options_.topics.requests, records).ok());
  }

  // A request r<name> with these numbers as its input.
  void SendInput(const std::string& name, const std::string& numbers) {
    std::unique_ptr<Producer> producer = log_->NewProducer().value();
    ByteBuffer headers;
    AppendHeader("model_id", "m", headers);
    const std::string value =
        R"({"request_id":"r)" + name + R"(","tenant_id":"t","input":[)" + numbers + "]}";
    ProducerRecord record;
    record.key = "t|m";
    record.value = value;
    record.headers = HeadersView(headers.view());
    ASSERT_TRUE(producer->Append(options_.topics.requests, {&record, 1}).ok());
  }

  // Sends what `send` does, runs until `count` outcomes are committed, and leaves.
  void RunUntilCommitted(std::uint64_t count) {
    std::unique_ptr<Worker> worker = NewWorker();
    ASSERT_TRUE(worker->Start().ok());
    WaitCommitted(count);
    worker->RequestStop();
    EXPECT_TRUE(worker->Wait().ok());
  }
  // Number of dead letters of each attempts count.
  std::map<std::string, int> LettersByAttempts(std::string_view reason) {
    std::map<std::string, int> letters;
    ForEach(options_.topics.dlq, [&](const Record& record) {
      EXPECT_EQ(record.headers.Find("reason"), reason);
      ++letters[std::string(*record.headers.Find("attempts"))];
    });
    return letters;
  }

  std::uint64_t Committed() { return registry_.SumCounters("millrace_records_produced_total"); }

  void WaitCommitted(std::uint64_t count) {
    for (int i = 0; i < 20'000 && Committed() < count; ++i) {
      std::this_thread::sleep_for(Millis(1));
    }
    ASSERT_GE(Committed(), count);
  }

  std::vector<std::string> Keys(const std::string& topic) {
    std::vector<std::string> keys;
    ForEach(topic, [&](const Record& record) { keys.emplace_back(record.key); });
    return keys;
  }

  // Requests at or above the group's positions.
  std::int64_t Unclaimed() {
    std::int64_t unclaimed = 0;
    const auto committed = log_->CommittedOffsets("g", options_.topics.requests).value();
    const std::vector<TopicInfo> topics = log_->DescribeTopics({options_.topics.requests}).value();
    for (const PartitionInfo& partition : topics.front().partitions) {
      unclaimed += partition.end.value() - committed.at(partition.partition).position.value();
    }
    return unclaimed;
  }

  template <class F>
  void ForEach(const std::string& topic, F f) {
    std::vector<Reader::Start> starts;
    std::int64_t remaining = 0;
    const std::vector<TopicInfo> topics = log_->DescribeTopics({}).value();
    for (const TopicInfo& info : topics) {
      if (info.spec.name != topic) continue;
      for (const PartitionInfo& partition : info.partitions) {
        starts.push_back({{topic, partition.partition}, partition.start});
        remaining += partition.end.value() - partition.start.value();
      }
    }
    std::unique_ptr<Reader> reader = log_->NewReader().value();
    ASSERT_TRUE(reader->Assign(starts).ok());
    RecordBatch batch;
    while (remaining > 0) {
      ASSERT_TRUE(reader->Poll(PollLimits{}, &batch).ok());
      for (const Record& record : batch.records) f(record);
      remaining -= static_cast<std::int64_t>(batch.records.size());
    }
  }

  TempFolder folder_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Log> log_;
  WorkerOptions options_;
  BatchPolicy policy_;
  Millis run_limit_{0};
  std::string model_ = kModel;
  MetricRegistry registry_;
};

TEST_F(WorkerTest, AnswersEachRequestOnceAndLeavesCleanly) {
  Send(100, 3000);
  std::unique_ptr<Worker> worker = NewWorker();
  ASSERT_TRUE(worker->Start().ok());
  EXPECT_EQ(worker->state(), WorkerState::kReady);
  WaitCommitted(3000);
  worker->RequestStop();
  EXPECT_TRUE(worker->Wait().ok());
  EXPECT_EQ(worker->state(), WorkerState::kStopped);
  const std::vector<std::string> keys = Keys(options_.topics.results);
  EXPECT_EQ(keys.size(), 3000u);
  EXPECT_EQ(std::set<std::string>(keys.begin(), keys.end()).size(), 3000u);
}

TEST_F(WorkerTest, TinyBoundsSlowItDownAndLoseNothing) {
  options_.delivery.max_in_flight_records = 100;
  options_.delivery.max_unit_records = 7;
  options_.fairness.max_queue_rows = 64;
  Send(100, 3000);
  std::unique_ptr<Worker> worker = NewWorker();
  ASSERT_TRUE(worker->Start().ok());
  WaitCommitted(3000);
  worker->RequestStop();
  EXPECT_TRUE(worker->Wait().ok());
  EXPECT_EQ(Keys(options_.topics.results).size(), 3000u);
}

TEST_F(WorkerTest, OneBadRowCostsItsMatesNothing) {
  Send(0, 64);  // Number 13 fails every batch it rides in.
  std::unique_ptr<Worker> worker = NewWorker();
  ASSERT_TRUE(worker->Start().ok());
  WaitCommitted(64);
  worker->RequestStop();
  EXPECT_TRUE(worker->Wait().ok());
  EXPECT_EQ(Keys(options_.topics.results).size(), 63u);
  int letters = 0;
  ForEach(options_.topics.dlq, [&](const Record& record) {
    ++letters;
    EXPECT_EQ(record.headers.Find("reason"), "inference_error");
    EXPECT_EQ(record.headers.Find("model_version"), "3");
    EXPECT_NE(record.value.find(R"("request_id":"r13")"), std::string_view::npos);
  });
  EXPECT_EQ(letters, 1);
}

TEST_F(WorkerTest, ThreePoisonousRowsOfSixtyFourCostFewRuns) {
  options_.executor.threads = 1;
  Send(100, 20);
  Send(13, 1);
  Send(120, 25);
  Send(13, 1);
  Send(145, 16);
  Send(13, 1);
  RunUntilCommitted(64);
  EXPECT_EQ(Keys(options_.topics.results).size(), 61u);
  EXPECT_EQ(LettersByAttempts("inference_error"), (std::map<std::string, int>{{"1", 3}}));
  EXPECT_EQ(registry_.SumCounters("millrace_batches_total"), 1u);
  const std::uint64_t runs = registry_.SumCounters("millrace_model_runs_total");
  EXPECT_GT(runs, 3u);
  EXPECT_LE(runs, 2u * 3 * 6 + 1);
  RecordProperty("runs", static_cast<int>(runs));
}

TEST_F(WorkerTest, RunThatTakesTooLongIsStoppedAndItsMatesAreAnswered) {
  run_limit_ = Millis(20);
  Send(100, 40);
  Send(-1, 1);  // Hangs until it is terminated.
  Send(140, 23);
  RunUntilCommitted(64);
  EXPECT_EQ(Keys(options_.topics.results).size(), 63u);
  int letters = 0;
  ForEach(options_.topics.dlq, [&](const Record& record) {
    ++letters;
    EXPECT_EQ(record.headers.Find("reason"), "inference_timeout");
    EXPECT_NE(record.headers.Find("detail")->find("after 20 ms (models.m.timeout)"),
              std::string_view::npos)
        << *record.headers.Find("detail");
  });
  EXPECT_EQ(letters, 1);
}

TEST_F(WorkerTest, RowsOfOtherShapesThanThoseThatHangAreAnswered) {
  options_.executor.threads = 1;
  options_.retry = {.initial_backoff = Millis(5), .max_backoff = Millis(10), .max_attempts = 1};
  run_limit_ = Millis(20);
  model_ = "open=1\nhang_value=-1\n";
  // The rows of a batch run by length, shortest first.
  SendInput("a", "-1");
  SendInput("b", "-1,1");
  SendInput("c", "-1,1,1");
  SendInput("d", "4,1,1,1");
  SendInput("e", "5,1,1,1,1");
  RunUntilCommitted(5);
  EXPECT_EQ(LettersByAttempts("inference_timeout"), (std::map<std::string, int>{{"1", 3}}));
  const std::vector<std::string> keys = Keys(options_.topics.results);
  EXPECT_EQ(std::set<std::string>(keys.begin(), keys.end()), (std::set<std::string>{"rd", "re"}));
}

TEST_F(WorkerTest, RowsOfManyShapesAreAnsweredEachWithItsOwn) {
  model_ = "open=1\nfail_value=13\n";
  const std::string lengths[] = {"1", "1,2", "1,2,3", "13,2", "1,2,3,4", "7,8"};
  for (int i = 0; i < 60; ++i) SendInput(std::to_string(i), lengths[i % 6]);
  RunUntilCommitted(60);
  EXPECT_EQ(LettersByAttempts("inference_error"), (std::map<std::string, int>{{"1", 10}}));
  int results = 0;
  ForEach(options_.topics.results, [&](const Record& record) {
    ++results;
    const int number = std::stoi(std::string(record.key.substr(1)));
    EXPECT_NE(record.value.find("\"output\":[" + lengths[number % 6] + "],"),
              std::string_view::npos)
        << record.value;
  });
  EXPECT_EQ(results, 50);
}

TEST_F(WorkerTest, WhatResultsTakeIsLearnedFromThem) {
  model_ = "open=1\n";
  std::string numbers = "1";
  for (int i = 0; i < 2'000; ++i) numbers += ",2";
  SendInput("a", numbers);
  std::unique_ptr<Worker> worker = NewWorker();
  const ServedModel& model = worker->models().at(ModelSlot(0));
  EXPECT_LT(model.outcome_size.bytes(), 2'000u) << "warm-up knows rows of one element";
  ASSERT_TRUE(worker->Start().ok());
  WaitCommitted(1);
  EXPECT_GT(model.outcome_size.bytes(), 4'000u);
  EXPECT_LT(model.outcome_size.bytes(), 6'000u);
  worker->RequestStop();
  EXPECT_TRUE(worker->Wait().ok());
}

TEST_F(WorkerTest, ModelThatIsOutOfOrderKeepsItsRequestsWaiting) {
  options_.retry = {.initial_backoff = Millis(5), .max_backoff = Millis(20), .max_attempts = 2};
  for (const char* fault : {"fail_file", "hang_file"}) {
    const std::string file = (folder_.path() / fault).string();
    run_limit_ = Millis(10);
    model_ = "elements=4\noutputs=2\n" + std::string(fault) + "=" + file + "\n";
    std::unique_ptr<Worker> worker = NewWorker();
    folder_.Write(fault, "");
    ASSERT_TRUE(worker->Start().ok());
    const std::uint64_t before = Committed();
    Send(100, 300);
    const auto returned = [this] { return registry_.SumCounters("millrace_retries_total"); };
    const std::uint64_t some = returned() + 1'000;  // Every row several times.
    while (returned() < some) std::this_thread::sleep_for(Millis(1));
    EXPECT_EQ(Committed(), before) << "an outage is no reason for a dead letter";
    std::filesystem::remove(file);
    WaitCommitted(before + 300);
    worker->RequestStop();
    EXPECT_TRUE(worker->Wait().ok());
    EXPECT_EQ(Keys(options_.topics.dlq).size(), 0u);
  }
  EXPECT_EQ(Keys(options_.topics.results).size(), 600u);
}

TEST_F(WorkerTest, RequestsThatAllFailComeOutSlowlyAndOthersStopIt) {
  options_.executor.threads = 1;
  options_.retry = {.initial_backoff = Millis(5), .max_backoff = Millis(10), .max_attempts = 3};
  for (int i = 0; i < 64 * 3; ++i) Send(13, 1);
  RunUntilCommitted(64 * 3);
  // The first batch at once; the next in the same way: the model is paused, they are tried again.
  EXPECT_EQ(LettersByAttempts("inference_error"),
            (std::map<std::string, int>{{"1", 64}, {"3", 128}}));
  Send(100, 100);
  RunUntilCommitted(64 * 3 + 100);
  EXPECT_EQ(Keys(options_.topics.results).size(), 100u);
}

TEST_F(WorkerTest, WantOfMemoryPausesTheModelAndIsTriedAgain) {
  options_.retry = {.initial_backoff = Millis(5), .max_backoff = Millis(10), .max_attempts = 4};
  model_ = "elements=4\noutputs=2\nscarce_value=13\n";
  Send(100, 40);
  Send(13, 1);
  Send(140, 23);
  RunUntilCommitted(64);
  EXPECT_EQ(Keys(options_.topics.results).size(), 63u);
  EXPECT_EQ(LettersByAttempts("inference_error"), (std::map<std::string, int>{{"4", 1}}));
}

TEST_F(WorkerTest, PausedModelDoesNotHoldUpTheEnd) {
  options_.delivery.drain_timeout = Millis(200);
  const std::string file = (folder_.path() / "fail").string();
  model_ = "elements=4\noutputs=2\nfail_file=" + file + "\n";
  std::unique_ptr<Worker> worker = NewWorker();
  folder_.Write("fail", "");
  Send(100, 300);
  ASSERT_TRUE(worker->Start().ok());
  while (registry_.SumCounters("millrace_retries_total") == 0) {
    std::this_thread::sleep_for(Millis(1));
  }
  worker->RequestStop();
  EXPECT_TRUE(worker->Wait().ok());
  EXPECT_EQ(Committed(), 0u);
  worker.reset();  // Leaves the group.
  std::filesystem::remove(file);
  RunUntilCommitted(300);
  EXPECT_EQ(Keys(options_.topics.results).size(), 300u);
}

TEST_F(WorkerTest, VersionThatIsNotServedIsADeadLetterThatSaysSo) {
  Send(0, 1, R"(,"model_version":"9")");
  std::unique_ptr<Worker> worker = NewWorker();
  ASSERT_TRUE(worker->Start().ok());
  WaitCommitted(1);
  worker->RequestStop();
  EXPECT_TRUE(worker->Wait().ok());
  ForEach(options_.topics.dlq, [&](const Record& record) {
    EXPECT_EQ(record.headers.Find("reason"), "unknown_model");
    EXPECT_NE(record.headers.Find("detail")->find("'9'"), std::string_view::npos);
  });
  EXPECT_EQ(Keys(options_.topics.dlq).size(), 1u);
}

TEST_F(WorkerTest, RequestWhoseDeadlineHasPassedIsNotRun) {
  Send(13, 1, R"(,"timeout_ms":1,"enqueued_at":"2020-01-01T00:00:00Z")");  // 13 would fail a run.
  Send(100, 1, R"(,"timeout_ms":60000)");
  std::unique_ptr<Worker> worker = NewWorker();
  ASSERT_TRUE(worker->Start().ok());
  WaitCommitted(2);
  worker->RequestStop();
  EXPECT_TRUE(worker->Wait().ok());
  EXPECT_EQ(Keys(options_.topics.results), std::vector<std::string>{"r100"});
  int letters = 0;
  ForEach(options_.topics.dlq, [&](const Record& record) {
    ++letters;
    EXPECT_EQ(record.headers.Find("reason"), "expired");
    EXPECT_NE(record.headers.Find("detail")->find("the deadline, 1577836800001 in Unix"),
              std::string_view::npos)
        << *record.headers.Find("detail");
    EXPECT_EQ(record.headers.Find("model_version"), "3");
    EXPECT_NE(record.value.find(R"("request_id":"r13")"), std::string_view::npos);
  });
  EXPECT_EQ(letters, 1);
}

TEST_F(WorkerTest, ExpiredRequestMayHaveAResultThatSaysSo) {
  options_.delivery.expired = ExpiredOutcome::kResult;
  Send(13, 1, R"(,"timeout_ms":1,"enqueued_at":"2020-01-01T00:00:00Z","metadata":{"a":"b"})");
  RunUntilCommitted(1);
  EXPECT_EQ(Keys(options_.topics.dlq).size(), 0u);
  int results = 0;
  ForEach(options_.topics.results, [&](const Record& record) {
    ++results;
    EXPECT_EQ(record.key, "r13");
    EXPECT_NE(record.value.find(R"("model_version":"3","status":"expired","latency_ms":)"),
              std::string_view::npos)
        << record.value;
    EXPECT_NE(record.value.find(R"("batch_size":0,)"), std::string_view::npos);
    EXPECT_NE(record.value.find(R"("expired_at":")"), std::string_view::npos);
    EXPECT_NE(record.value.find(R"("metadata":{"a":"b"}})"), std::string_view::npos);
  });
  EXPECT_EQ(results, 1);
}

TEST_F(WorkerTest, DeadlineEndsTheWaitForCompany) {
  policy_ = BatchPolicy{.max_rows = 64, .max_wait = Millis(60'000), .adaptive = false};
  Send(100, 1, R"(,"timeout_ms":300)");
  std::unique_ptr<Worker> worker = NewWorker();
  ASSERT_TRUE(worker->Start().ok());
  WaitCommitted(1);
  worker->RequestStop();
  EXPECT_TRUE(worker->Wait().ok());
  EXPECT_EQ(Keys(options_.topics.results).size() + Keys(options_.topics.dlq).size(), 1u)
      << "long before max_wait";
}

TEST_F(WorkerTest, TenantWithALargerWeightIsServedSooner) {
  options_.executor.threads = 1;
  options_.tenants["t1"].weight = 100;
  model_ = "elements=4\noutputs=2\nrow_us=100\nwait=spin\n";
  Send(100, 1000);
  std::unique_ptr<Worker> worker = NewWorker();
  ASSERT_TRUE(worker->Start().ok());
  WaitCommitted(1000);
  worker->RequestStop();
  EXPECT_TRUE(worker->Wait().ok());
  double latency[2] = {0, 0};
  int count[2] = {0, 0};
  ForEach(options_.topics.results, [&](const Record& record) {
    const std::size_t favoured = record.headers.Find("tenant_id") == "t1" ? 1 : 0;
    const std::size_t at = record.value.find(R"("latency_ms":)");
    ASSERT_NE(at, std::string_view::npos);
    latency[favoured] += std::stod(std::string(record.value.substr(at + 13, 20)));
    ++count[favoured];
  });
  ASSERT_EQ(count[1], 200);
  EXPECT_LT(latency[1] / count[1], 0.5 * latency[0] / count[0]);
}

TEST_F(WorkerTest, NextWorkerGoesOnWhereTheLastOneStopped) {
  for (int round = 0; round < 3; ++round) {
    Send(100 + round * 500, 500);
    std::unique_ptr<Worker> worker = NewWorker();
    ASSERT_TRUE(worker->Start().ok());
    WaitCommitted(static_cast<std::uint64_t>(500 * (round + 1)));
    worker->RequestStop();
    ASSERT_TRUE(worker->Wait().ok());
  }
  EXPECT_EQ(Keys(options_.topics.results).size(), 1500u);
}

TEST_F(WorkerTest, StopBeforeTheFirstPollLeavesEverythingForTheNextWorker) {
  Send(100, 100);
  std::unique_ptr<Worker> worker = NewWorker();
  worker->RequestStop();
  ASSERT_TRUE(worker->Start().ok());
  EXPECT_TRUE(worker->Wait().ok());
  EXPECT_EQ(Keys(options_.topics.results).size(), Committed());
}

TEST_F(WorkerTest, RunThatNeverEndsDoesNotOutliveTheDrainDeadline) {
  options_.delivery.drain_timeout = Millis(200);
  Send(-1, 1);  // Number -1 hangs until it is terminated.
  Send(100, 500);
  std::unique_ptr<Worker> worker = NewWorker();
  ASSERT_TRUE(worker->Start().ok());
  while (worker->totals().in_flight_records < 501) std::this_thread::sleep_for(Millis(1));
  worker->RequestStop();
  EXPECT_TRUE(worker->Wait().ok());
  for (const std::string& key : Keys(options_.topics.results)) EXPECT_NE(key, "r-1");
  EXPECT_EQ(Keys(options_.topics.dlq).size(), 0u) << "leaving is no reason for a dead letter";
}

TEST_F(WorkerTest, AtMostOnceAnswersEachRequestOnceToo) {
  options_.delivery.mode = DeliveryMode::kAtMostOnce;
  for (int round = 0; round < 3; ++round) {
    Send(100 + round * 2000, 2000);
    std::unique_ptr<Worker> worker = NewWorker();
    ASSERT_TRUE(worker->Start().ok());
    WaitCommitted(static_cast<std::uint64_t>(2000 * (round + 1)));
    EXPECT_EQ(Unclaimed(), 0);
    worker->RequestStop();
    ASSERT_TRUE(worker->Wait().ok());
  }
  const std::vector<std::string> keys = Keys(options_.topics.results);
  EXPECT_EQ(keys.size(), 6000u);
  EXPECT_EQ(std::set<std::string>(keys.begin(), keys.end()).size(), 6000u);
}

TEST_F(WorkerTest, AtMostOnceNobodyRunsAgainWhatWasClaimed) {
  options_.delivery.mode = DeliveryMode::kAtMostOnce;
  options_.delivery.drain_timeout = Millis(200);
  Send(-1, 1);  // Number -1 hangs until it is terminated.
  Send(100, 500);
  std::unique_ptr<Worker> worker = NewWorker();
  ASSERT_TRUE(worker->Start().ok());
  while (Unclaimed() > 0) std::this_thread::sleep_for(Millis(1));
  EXPECT_LT(Keys(options_.topics.results).size(), 501u);
  worker->RequestStop();
  EXPECT_TRUE(worker->Wait().ok());
  const std::vector<std::string> answered = Keys(options_.topics.results);
  EXPECT_LT(answered.size(), 501u);
  EXPECT_EQ(registry_.SumCounters("millrace_unanswered_requests_total"), 501 - answered.size());
  Send(1000, 100);
  const std::uint64_t before = Committed();
  worker.reset();
  worker = NewWorker();
  ASSERT_TRUE(worker->Start().ok());
  WaitCommitted(before + 100);
  worker->RequestStop();
  EXPECT_TRUE(worker->Wait().ok());
  const std::vector<std::string> keys = Keys(options_.topics.results);
  EXPECT_EQ(keys.size(), answered.size() + 100);
  EXPECT_EQ(std::set<std::string>(keys.begin(), keys.end()).size(), keys.size());
}

TEST_F(WorkerTest, AllocatesNothingPerRecord) {
  if (MILLRACE_COUNTS_ALLOCATIONS == 0) GTEST_SKIP() << "a sanitizer build does not count them";
  constexpr int kRequests = 200'000;
  Send(100, kRequests);
  std::unique_ptr<Worker> worker = NewWorker();
  allocations = 0;
  counting = true;
  ASSERT_TRUE(worker->Start().ok());
  while (Committed() < kRequests) std::this_thread::sleep_for(Millis(1));
  counting = false;
  worker->RequestStop();
  ASSERT_TRUE(worker->Wait().ok());
  // What starts the threads and fills the pools, once, is part of it: far below one per record.
  const double per_record = static_cast<double>(allocations) / kRequests;
  std::printf("allocations per record: %.4f\n", per_record);
  EXPECT_LT(per_record, 0.05);
}

}  // namespace
}  // namespace millrace
