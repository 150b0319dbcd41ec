#include "transport/local/local_log.h"

#include <gtest/gtest.h>
#include <sqlite3.h>

#include <fstream>
#include <thread>

#include "transport/local/local_log_testing.h"
#include "transport/local/producer.h"
#include "transport/partitioner.h"

namespace millrace::local {
namespace {

constexpr char kRequests[] = "inference.requests";

TEST(LocalLog, GivesBackKeysHeadersTombstonesAndEmptyValues) {
  TempDir dir;
  const auto log = OpenLogWithTopics(dir.path());
  ByteBuffer headers;
  AppendHeader("model_id", "m", headers);
  AppendNullHeader("nothing", headers);
  const std::string long_value(100'000, 'x');  // Longer than a page.
  ProducerRecord records[5];
  records[0] = Keyed("k", "v");
  records[0].headers = HeadersView(headers.view());
  records[0].timestamp = 42;
  records[1] = Keyed("k", "");
  records[2] = Keyed("k", "");
  records[2].has_value = false;
  records[3] = Keyed("", long_value);
  records[4].value = "keyless";
  records[4].has_key = false;
  for (ProducerRecord& record : records) record.partition = 1;
  auto producer = log->NewProducer();
  ASSERT_TRUE(producer.ok());
  ASSERT_TRUE((*producer)->Append(kRequests, records).ok());

  const auto found = ReadAll(*log, kRequests);
  ASSERT_EQ(found.size(), 5u);
  for (std::size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(found[i].offset, static_cast<std::int64_t>(i));
    EXPECT_EQ(found[i].partition, 1);
    EXPECT_EQ(found[i].value, records[i].value);
    EXPECT_EQ(found[i].key, records[i].key);
    EXPECT_EQ(found[i].has_key, i != 4);
    EXPECT_EQ(found[i].has_value, i != 2);
  }
  EXPECT_EQ(found[0].headers, headers.view());
  EXPECT_EQ(found[0].timestamp, 42);
  EXPECT_TRUE(found[1].headers.empty());
  EXPECT_GT(found[1].timestamp, 1'600'000'000'000);
}

TEST(LocalLog, ChoosesThePartitionByKeyElseInTurn) {
  TempDir dir;
  const auto log = OpenLogWithTopics(dir.path());
  std::vector<ProducerRecord> records;
  for (const char* key : {"a", "b", "c", "d", "e"}) records.push_back(Keyed(key, key));
  for (int i = 0; i < 8; ++i) {
    records.push_back(Keyed("", "keyless"));
    records.back().has_key = false;
  }
  auto producer = log->NewProducer();
  ASSERT_TRUE(producer.ok());
  ASSERT_TRUE((*producer)->Append(kRequests, records).ok());
  std::map<std::int32_t, int> keyless;
  for (const Stored& record : ReadAll(*log, kRequests)) {
    if (record.has_key) {
      EXPECT_EQ(record.partition, PartitionForKey(record.key, 4));
    } else {
      ++keyless[record.partition];
    }
  }
  EXPECT_EQ(keyless, (std::map<std::int32_t, int>{{0, 2}, {1, 2}, {2, 2}, {3, 2}}));
}

TEST(LocalLog, KeepsTheOrderOfAPartitionAcrossChunksAndLogs) {
  TempDir dir;
  const std::size_t count = kMaxAppendRecords * 2 + 17;
  {
    const auto log = OpenLogWithTopics(dir.path());
    std::vector<std::string> values;
    for (std::size_t i = 0; i < count; ++i) values.push_back(std::to_string(i));
    std::vector<ProducerRecord> records;
    for (const std::string& value : values) records.push_back(Keyed("same", value));
    auto producer = log->NewProducer();
    ASSERT_TRUE(producer.ok());
    ASSERT_TRUE((*producer)->Append(kRequests, records).ok());
  }
  const auto log = OpenLog(dir.path());
  const auto found = ReadAll(*log, kRequests);
  ASSERT_EQ(found.size(), count);
  for (std::size_t i = 0; i < count; ++i) {
    ASSERT_EQ(found[i].offset, static_cast<std::int64_t>(i));
    ASSERT_EQ(found[i].value, std::to_string(i));
  }
}

TEST(LocalLog, AppendsNothingWhenOneRecordIsWrong) {
  TempDir dir;
  const auto log = OpenLogWithTopics(dir.path());
  ProducerRecord records[2] = {Keyed("a", "good"), Keyed("b", "bad")};
  records[1].partition = 99;
  auto producer = log->NewProducer();
  ASSERT_TRUE(producer.ok());
  EXPECT_EQ((*producer)->Append(kRequests, records).code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE(ReadAll(*log, kRequests).empty());
  // And a compacted topic has no use for a record without a key.
  records[0].has_key = false;
  EXPECT_EQ((*producer)->Append("model.events", std::span(records, 1)).code(),
            StatusCode::kInvalidArgument);
}

TEST(LocalLog, SaysHowToMakeAMissingTopic) {
  TempDir dir;
  const auto log = OpenLog(dir.path());
  const Status status = AppendOne(*log, "nowhere", Keyed("k", "v"));
  EXPECT_EQ(status.code(), StatusCode::kNotFound);
  EXPECT_NE(status.message().find("'nowhere'"), std::string::npos) << status.message();
  EXPECT_NE(status.message().find("millrace topics create --transport local --data " + dir.path()),
            std::string::npos)
      << status.message();
  EXPECT_EQ(log->OpenWorker({.group = "g"}).status().code(), StatusCode::kNotFound);
}

TEST(LocalLog, RemembersItsTopics) {
  TempDir dir;
  OpenLogWithTopics(dir.path());
  const auto log = OpenLog(dir.path());
  const auto topics = log->DescribeTopics({});
  ASSERT_TRUE(topics.ok());
  ASSERT_EQ(topics->size(), 6u);
  const TopicInfo& events = (*topics)[4];
  EXPECT_EQ(events.spec.name, "model.events");
  EXPECT_EQ(events.spec.cleanup, CleanupPolicy::kCompact);
  const TopicInfo& requests = (*topics)[1];
  EXPECT_EQ(requests.spec.name, kRequests);
  EXPECT_EQ(requests.spec.retention, Millis(86'400'000));
  EXPECT_EQ(requests.partitions.size(), 4u);
  EXPECT_EQ(requests.spec.partitions, 4);

  TopicSpec again;
  again.name = kRequests;
  EXPECT_EQ(log->CreateTopic(again).code(), StatusCode::kAlreadyExists);
  again.name = "other";
  again.partitions = 0;
  EXPECT_EQ(log->CreateTopic(again).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(log->DescribeTopics({})->size(), 6u);
}

TEST(LocalLog, RefusesAFormatOfALaterVersion) {
  TempDir dir;
  OpenLogWithTopics(dir.path());
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open((dir.path() + "/log.db").c_str(), &db), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(db, "PRAGMA user_version=999", nullptr, nullptr, nullptr), SQLITE_OK);
  sqlite3_close(db);
  LocalLogOptions options;
  options.dir = dir.path();
  const auto log = OpenLocalLog(options);
  ASSERT_FALSE(log.ok());
  EXPECT_EQ(log.status().code(), StatusCode::kUnsupported);
  EXPECT_NE(log.status().message().find("999"), std::string::npos);
}

TEST(LocalLog, RefusesAFileThatIsNotALog) {
  TempDir dir;
  std::ofstream(dir.path() + "/log.db") << std::string(8192, 'z');
  LocalLogOptions options;
  options.dir = dir.path();
  EXPECT_EQ(OpenLocalLog(options).status().code(), StatusCode::kCorruption);
}

TEST(LocalLog, RefusesAFolderThatCannotBe) {
  TempDir dir;
  std::ofstream(dir.path() + "/file") << "x";
  LocalLogOptions options;
  options.dir = dir.path() + "/file/sub";
  const auto log = OpenLocalLog(options);
  ASSERT_FALSE(log.ok());
  EXPECT_EQ(log.status().code(), StatusCode::kUnavailable);
  EXPECT_NE(log.status().message().find(options.dir), std::string::npos);
}

TEST(LocalReader, ReadsFromTheOffsetItIsGiven) {
  TempDir dir;
  const auto log = OpenLogWithTopics(dir.path());
  auto producer = log->NewProducer();
  ASSERT_TRUE(producer.ok());
  for (int i = 0; i < 10; ++i) {
    ProducerRecord record = Keyed("k", "v");
    record.partition = 2;
    ASSERT_TRUE((*producer)->Append(kRequests, std::span(&record, 1)).ok());
  }
  auto reader = log->NewReader();
  ASSERT_TRUE(reader.ok());
  const Reader::Start starts[] = {{{kRequests, 0}, Offset(0)}, {{kRequests, 2}, Offset(7)}};
  ASSERT_TRUE((*reader)->Assign(starts).ok());
  RecordBatch batch;
  ASSERT_TRUE((*reader)->Poll({}, &batch).ok());
  ASSERT_EQ(batch.records.size(), 3u);
  EXPECT_EQ(batch.records[0].offset, Offset(7));
  EXPECT_EQ(batch.records[0].slot, PartitionSlot(1));

  const Reader::Start wrong[] = {{{kRequests, 4}, Offset(0)}};
  EXPECT_EQ((*reader)->Assign(wrong).code(), StatusCode::kInvalidArgument);
  const Reader::Start nowhere[] = {{{"nowhere", 0}, Offset(0)}};
  EXPECT_EQ((*reader)->Assign(nowhere).code(), StatusCode::kNotFound);
}

TEST(LocalReader, FillsABatchWithinItsLimitsAndMissesNothing) {
  TempDir dir;
  const auto log = OpenLogWithTopics(dir.path());
  auto producer = log->NewProducer();
  ASSERT_TRUE(producer.ok());
  std::vector<std::string> values;
  for (std::size_t i = 0; i < 1000; ++i) {
    values.push_back(std::to_string(i) + ":" + std::string(i % 700, 'p'));
  }
  values[500].assign(50'000, 'L');  // Alone larger than the limit below.
  std::vector<ProducerRecord> records;
  for (std::size_t i = 0; i < values.size(); ++i) {
    records.push_back(Keyed("k", values[i]));
    records.back().partition = static_cast<std::int32_t>(i % 4);
  }
  ASSERT_TRUE((*producer)->Append(kRequests, records).ok());

  auto reader = log->NewReader();
  ASSERT_TRUE(reader.ok());
  std::vector<Reader::Start> starts;
  for (std::int32_t p = 0; p < 4; ++p) starts.push_back({{kRequests, p}, Offset(0)});
  ASSERT_TRUE((*reader)->Assign(starts).ok());
  PollLimits limits;
  limits.max_records = 100;
  limits.max_bytes = 20'000;
  limits.max_wait = Millis(0);
  RecordBatch batch;
  std::size_t seen = 0;
  std::map<std::int32_t, std::int64_t> next;
  while (true) {
    ASSERT_TRUE((*reader)->Poll(limits, &batch).ok());
    if (batch.records.empty()) break;
    EXPECT_LE(batch.records.size(), limits.max_records);
    EXPECT_TRUE(batch.bytes.size() <= limits.max_bytes || batch.records.size() == 1);
    for (const Record& record : batch.records) {
      const std::int64_t offset = record.offset.value();
      ASSERT_EQ(offset, next[record.slot.value()]++);
      ASSERT_EQ(record.value, values[static_cast<std::size_t>(offset * 4 + record.slot.value())]);
      ASSERT_EQ(record.key, "k");
      // The padding behind the value is inside the buffer.
      const char* end = batch.bytes.data() + batch.bytes.capacity() + kReadablePadding;
      ASSERT_LE(record.value.data() + record.value.size() + kReadablePadding, end);
      ++seen;
    }
  }
  EXPECT_EQ(seen, values.size());
  // The giant record's memory is not kept for ever.
  EXPECT_LT(batch.bytes.capacity(), 50'000u + (128u << 10));
}

TEST(LocalReader, LetsGoOfAGiantRecordsMemory) {
  TempDir dir;
  const auto log = OpenLogWithTopics(dir.path());
  const std::string giant(4 << 20, 'g');
  ASSERT_TRUE(AppendOne(*log, kRequests, Keyed("k", giant)).ok());
  ASSERT_TRUE(AppendOne(*log, kRequests, Keyed("k", "small")).ok());
  auto reader = log->NewReader();
  ASSERT_TRUE(reader.ok());
  const Reader::Start starts[] = {{{kRequests, PartitionForKey("k", 4)}, Offset(0)}};
  ASSERT_TRUE((*reader)->Assign(starts).ok());
  PollLimits limits;
  limits.max_bytes = 10'000;
  RecordBatch batch;
  ASSERT_TRUE((*reader)->Poll(limits, &batch).ok());
  ASSERT_EQ(batch.records.size(), 1u);
  EXPECT_EQ(batch.records[0].value, giant);
  ASSERT_TRUE((*reader)->Poll(limits, &batch).ok());
  ASSERT_EQ(batch.records.size(), 1u);
  EXPECT_EQ(batch.records[0].value, "small");
  EXPECT_LT(batch.bytes.capacity(), std::size_t{1} << 20);
}

TEST(LocalReader, StarvesNoPartition) {
  TempDir dir;
  const auto log = OpenLogWithTopics(dir.path());
  auto producer = log->NewProducer();
  ASSERT_TRUE(producer.ok());
  std::vector<ProducerRecord> records(4000, Keyed("k", "v"));
  for (std::size_t i = 0; i < records.size(); ++i) {
    // Nearly all in one partition.
    records[i].partition = i % 100 == 0 ? static_cast<std::int32_t>(1 + i / 100 % 3) : 0;
  }
  ASSERT_TRUE((*producer)->Append(kRequests, records).ok());
  auto reader = log->NewReader();
  ASSERT_TRUE(reader.ok());
  std::vector<Reader::Start> starts;
  for (std::int32_t p = 0; p < 4; ++p) starts.push_back({{kRequests, p}, Offset(0)});
  ASSERT_TRUE((*reader)->Assign(starts).ok());
  PollLimits limits;
  limits.max_records = 10;
  RecordBatch batch;
  std::map<std::int32_t, int> seen;
  for (int poll = 0; poll < 4; ++poll) {
    ASSERT_TRUE((*reader)->Poll(limits, &batch).ok());
    for (const Record& record : batch.records) ++seen[record.slot.value()];
  }
  EXPECT_EQ(seen.size(), 4u);
}

TEST(LocalReader, WakeEndsAPollThatWaitsAndTheNextOne) {
  TempDir dir;
  const auto log = OpenLogWithTopics(dir.path());
  auto reader = log->NewReader();
  ASSERT_TRUE(reader.ok());
  const Reader::Start starts[] = {{{kRequests, 0}, Offset(0)}};
  ASSERT_TRUE((*reader)->Assign(starts).ok());
  PollLimits limits;
  limits.max_wait = Millis(30'000);
  RecordBatch batch;
  const MonoTime start = SystemClock().Now();
  (*reader)->Wake();
  ASSERT_TRUE((*reader)->Poll(limits, &batch).ok());
  std::thread waker([&] {
    std::this_thread::sleep_for(Millis(50));
    (*reader)->Wake();
  });
  ASSERT_TRUE((*reader)->Poll(limits, &batch).ok());
  waker.join();
  EXPECT_LT(SystemClock().Now() - start, Millis(10'000));
  EXPECT_TRUE(batch.records.empty());
}

TEST(LocalReader, ReturnsWithNothingAfterItsWait) {
  TempDir dir;
  const auto log = OpenLogWithTopics(dir.path());
  auto reader = log->NewReader();
  ASSERT_TRUE(reader.ok());
  PollLimits limits;
  limits.max_wait = Millis(60);
  RecordBatch batch;
  const MonoTime start = SystemClock().Now();
  ASSERT_TRUE((*reader)->Poll(limits, &batch).ok());
  EXPECT_GE(SystemClock().Now() - start, Millis(59));
}

}  // namespace
}  // namespace millrace::local
