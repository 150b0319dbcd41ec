// millrace_bare_copy: the least that exactly-once costs, for comparison.
//
// One thread, one plain loop over librdkafka: consume a batch, produce the same bytes to another
// topic, and every --commit-ms send the offsets and commit the transaction. No decoding, no model,
// no headers, no retries: any error ends it. It copies what topic FROM holds when it starts, into a
// topic that it makes and deletes, and prints one JSON object:
//   {"requests", "seconds", "requests_per_second", "cpu_us_per_request", "commits"}
// Seconds count from the first record, CPU is that of the whole process from there.
//
// usage: millrace_bare_copy BROKERS FROM [--commit-ms N]

#include <librdkafka/rdkafka.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kBatch = 1024;
constexpr int kTimeoutMs = 30'000;

[[noreturn]] void Fail(const std::string& what) { throw std::runtime_error(what); }

void Check(rd_kafka_resp_err_t error, const char* what) {
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
    Fail(std::string(what) + ": " + rd_kafka_err2str(error));
  }
}

void Check(rd_kafka_error_t* error, const char* what) {
  if (error != nullptr) Fail(std::string(what) + ": " + rd_kafka_error_string(error));
}

void OnDelivery(rd_kafka_t*, const rd_kafka_message_t* message, void*) {
  if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
    std::fprintf(stderr, "not delivered: %s\n", rd_kafka_err2str(message->err));
    std::_Exit(1);
  }
}

using Properties = std::vector<std::pair<const char*, std::string>>;

rd_kafka_t* NewClient(rd_kafka_type_t type, const Properties& properties) {
  std::array<char, 512> error{};
  rd_kafka_conf_t* const conf = rd_kafka_conf_new();
  for (const auto& [name, value] : properties) {
    if (rd_kafka_conf_set(conf, name, value.c_str(), error.data(), error.size()) !=
        RD_KAFKA_CONF_OK) {
      Fail(error.data());
    }
  }
  // Without a delivery callback each commit waits 10 ms for nothing.
  if (type == RD_KAFKA_PRODUCER) rd_kafka_conf_set_dr_msg_cb(conf, OnDelivery);
  rd_kafka_t* const client = rd_kafka_new(type, conf, error.data(), error.size());
  if (client == nullptr) Fail(error.data());
  return client;
}

// Partitions of `topic` and how many records they hold.
std::pair<int, std::int64_t> Measure(rd_kafka_t* client, const std::string& topic) {
  rd_kafka_topic_t* const handle = rd_kafka_topic_new(client, topic.c_str(), nullptr);
  const rd_kafka_metadata_t* metadata = nullptr;
  Check(rd_kafka_metadata(client, 0, handle, &metadata, kTimeoutMs), "metadata");
  if (metadata->topic_cnt != 1 || metadata->topics[0].err != RD_KAFKA_RESP_ERR_NO_ERROR) {
    Fail("topic " + topic + " does not exist");
  }
  const int partitions = metadata->topics[0].partition_cnt;
  rd_kafka_metadata_destroy(metadata);
  rd_kafka_topic_destroy(handle);
  std::int64_t records = 0;
  for (int partition = 0; partition < partitions; ++partition) {
    std::int64_t low = 0;
    std::int64_t high = 0;
    Check(
        rd_kafka_query_watermark_offsets(client, topic.c_str(), partition, &low, &high, kTimeoutMs),
        "watermarks");
    records += high - low;
  }
  return {partitions, records};
}

// Waits for an admin request; the topic's own error is looked at by `result_error`.
template <class ResultError>
void Await(rd_kafka_queue_t* queue, const char* what, ResultError result_error) {
  rd_kafka_event_t* const event = rd_kafka_queue_poll(queue, kTimeoutMs);
  if (event == nullptr) Fail(std::string(what) + ": no answer");
  Check(rd_kafka_event_error(event), what);
  Check(result_error(event), what);
  rd_kafka_event_destroy(event);
}

void CreateTopic(rd_kafka_t* client, const std::string& topic, int partitions) {
  std::array<char, 512> error{};
  rd_kafka_NewTopic_t* wanted =
      rd_kafka_NewTopic_new(topic.c_str(), partitions, 1, error.data(), error.size());
  if (wanted == nullptr) Fail(error.data());
  rd_kafka_queue_t* const queue = rd_kafka_queue_new(client);
  rd_kafka_CreateTopics(client, &wanted, 1, nullptr, queue);
  Await(queue, "creating the topic", [](rd_kafka_event_t* event) {
    std::size_t count = 0;
    return rd_kafka_topic_result_error(
        rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &count)[0]);
  });
  rd_kafka_queue_destroy(queue);
  rd_kafka_NewTopic_destroy(wanted);
}

void DeleteTopic(rd_kafka_t* client, const std::string& topic) {
  rd_kafka_DeleteTopic_t* unwanted = rd_kafka_DeleteTopic_new(topic.c_str());
  rd_kafka_queue_t* const queue = rd_kafka_queue_new(client);
  rd_kafka_DeleteTopics(client, &unwanted, 1, nullptr, queue);
  Await(queue, "deleting the topic", [](rd_kafka_event_t* event) {
    std::size_t count = 0;
    return rd_kafka_topic_result_error(
        rd_kafka_DeleteTopics_result_topics(rd_kafka_event_DeleteTopics_result(event), &count)[0]);
  });
  rd_kafka_queue_destroy(queue);
  rd_kafka_DeleteTopic_destroy(unwanted);
}

double ProcessCpuSeconds() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

// The loop. Messages are produced from where they were received and kept until the commit.
class Copier {
 public:
  Copier(rd_kafka_t* consumer, rd_kafka_t* producer, const std::string& to, int partitions)
      : consumer_(consumer),
        producer_(producer),
        to_(rd_kafka_topic_new(producer, to.c_str(), nullptr)),
        queue_(rd_kafka_queue_get_consumer(consumer)),
        next_(static_cast<std::size_t>(partitions), -1) {}

  void Run(std::int64_t total, const std::string& from, std::chrono::milliseconds interval) {
    Clock::time_point started;
    Clock::time_point begun;
    double cpu = 0;
    while (copied_ < total) {
      std::array<rd_kafka_message_t*, kBatch> batch;
      const ssize_t count =
          rd_kafka_consume_batch_queue(queue_, kept_.empty() ? 1'000 : 5, batch.data(), kBatch);
      if (count < 0) Check(rd_kafka_last_error(), "consuming");
      if (count > 0 && kept_.empty()) {
        begun = Clock::now();
        Check(rd_kafka_begin_transaction(producer_), "beginning");
        if (copied_ == 0) {
          started = begun;
          cpu = ProcessCpuSeconds();
        }
      }
      Produce(batch.data(), static_cast<std::size_t>(count));
      if (!kept_.empty() && (copied_ >= total || Clock::now() - begun >= interval)) Commit(from);
    }
    const double seconds = std::chrono::duration<double>(Clock::now() - started).count();
    cpu = ProcessCpuSeconds() - cpu;
    const auto requests = static_cast<double>(copied_);
    std::printf(
        "{\"requests\": %lld, \"seconds\": %.4f, \"requests_per_second\": %.0f, "
        "\"cpu_us_per_request\": %.4f, \"commits\": %lld}\n",
        static_cast<long long>(copied_), seconds, requests / seconds, cpu * 1e6 / requests,
        static_cast<long long>(commits_));
  }

 private:
  void Produce(rd_kafka_message_t** batch, std::size_t count) {
    out_.clear();
    for (std::size_t i = 0; i < count; ++i) {
      const rd_kafka_message_t& in = *batch[i];
      Check(in.err, "consuming");
      rd_kafka_message_t& out = out_.emplace_back();
      std::memset(&out, 0, sizeof out);
      out.partition = in.partition;
      out.payload = in.payload;
      out.len = in.len;
      out.key = in.key;
      out.key_len = in.key_len;
      next_[static_cast<std::size_t>(in.partition)] = in.offset + 1;
      kept_.push_back(batch[i]);
    }
    const int taken = rd_kafka_produce_batch(to_, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_PARTITION,
                                             out_.data(), static_cast<int>(count));
    if (taken != static_cast<int>(count)) Fail("the producer's queue is full");
    copied_ += static_cast<std::int64_t>(count);
  }

  void Commit(const std::string& from) {
    rd_kafka_topic_partition_list_t* const offsets =
        rd_kafka_topic_partition_list_new(static_cast<int>(next_.size()));
    for (std::size_t partition = 0; partition < next_.size(); ++partition) {
      if (next_[partition] < 0) continue;
      rd_kafka_topic_partition_list_add(offsets, from.c_str(), static_cast<int>(partition))
          ->offset = next_[partition];
      next_[partition] = -1;
    }
    rd_kafka_consumer_group_metadata_t* const group = rd_kafka_consumer_group_metadata(consumer_);
    Check(rd_kafka_send_offsets_to_transaction(producer_, offsets, group, kTimeoutMs),
          "sending offsets");
    Check(rd_kafka_commit_transaction(producer_, kTimeoutMs), "committing");
    rd_kafka_consumer_group_metadata_destroy(group);
    rd_kafka_topic_partition_list_destroy(offsets);
    for (rd_kafka_message_t* message : kept_) rd_kafka_message_destroy(message);
    kept_.clear();
    ++commits_;
  }

  rd_kafka_t* const consumer_;
  rd_kafka_t* const producer_;
  rd_kafka_topic_t* const to_;
  rd_kafka_queue_t* const queue_;
  std::vector<std::int64_t> next_;         // By partition; -1: did not move in this transaction.
  std::vector<rd_kafka_message_t*> kept_;  // Of this transaction.
  std::vector<rd_kafka_message_t> out_;
  std::int64_t copied_ = 0;
  std::int64_t commits_ = 0;
};

void Copy(const std::string& brokers, const std::string& from, int commit_ms) {
  const std::string name =
      "bare-copy-" + std::to_string(time(nullptr)) + "-" + std::to_string(getpid());
  rd_kafka_t* const producer =
      NewClient(RD_KAFKA_PRODUCER, {{"bootstrap.servers", brokers},
                                    {"transactional.id", name},
                                    {"retry.backoff.ms", "1"},
                                    {"linger.ms", "5"},
                                    {"queue.buffering.max.messages", "1000000"},
                                    {"queue.buffering.max.kbytes", "1000000"}});
  const auto [partitions, records] = Measure(producer, from);
  if (records == 0) Fail("topic " + from + " holds no record");
  CreateTopic(producer, name, partitions);
  Check(rd_kafka_init_transactions(producer, kTimeoutMs), "init_transactions");
  rd_kafka_t* const consumer =
      NewClient(RD_KAFKA_CONSUMER, {{"bootstrap.servers", brokers},
                                    {"group.id", name},
                                    {"auto.offset.reset", "earliest"},
                                    {"enable.auto.commit", "false"},
                                    {"isolation.level", "read_committed"},
                                    {"check.crcs", "true"},
                                    {"fetch.queue.backoff.ms", "5"},
                                    {"queued.max.messages.kbytes", "16384"}});
  rd_kafka_poll_set_consumer(consumer);
  rd_kafka_topic_partition_list_t* const topics = rd_kafka_topic_partition_list_new(1);
  rd_kafka_topic_partition_list_add(topics, from.c_str(), RD_KAFKA_PARTITION_UA);
  Check(rd_kafka_subscribe(consumer, topics), "subscribing");
  Copier(consumer, producer, name, partitions)
      .Run(records, from, std::chrono::milliseconds(commit_ms));
  std::fflush(stdout);
  DeleteTopic(producer, name);
}

}  // namespace

int main(int argc, char** argv) {
  int commit_ms = 20;
  if (argc == 5 && std::string(argv[3]) == "--commit-ms") {
    commit_ms = std::atoi(argv[4]);
  } else if (argc != 3) {
    std::fprintf(stderr, "usage: %s BROKERS FROM [--commit-ms N]\n", argv[0]);
    return 2;
  }
  try {
    Copy(argv[1], argv[2], commit_ms);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "millrace_bare_copy: %s\n", error.what());
    return 1;
  }
  return 0;  // The clients end with the process.
}
