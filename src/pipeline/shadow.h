// Shadow: runs versions beside those that serve, on the same requests, and writes how far their
// results are apart.
//
// Executors hand over what a request was and what was answered; a thread of its own, mr-shadow, at
// the lowest weight the kernel has (nice 19), decodes the request again for the shadow's inputs,
// runs it, and writes the shadow's result with the difference to topics.shadow. None of this is
// part of a unit of work: a shadow delays no outcome and fails none. What it is too slow for is
// dropped, and counted; after a crash some of its results are missing or there twice.
#pragma once

#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "codec/options.h"
#include "codec/outcome_encoder.h"
#include "codec/request_decoder.h"
#include "codec/string_scratch.h"
#include "pipeline/model_table.h"
#include "telemetry/log.h"
#include "telemetry/metrics.h"
#include "transport/log.h"

namespace millrace {

// One request, with its answer.
struct ShadowRow {
  std::string model_id;
  std::string key;
  bool has_key = false;
  std::string headers;  // A block (types/headers.h).
  std::string value;
  std::int32_t partition = 0;
  Offset offset;
  WallMillis timestamp = 0;
  std::string result;   // Value of the result that was given.
  std::string version;  // That gave it.

  std::size_t bytes() const {
    return sizeof(ShadowRow) + key.size() + headers.size() + value.size() + result.size();
  }
};

class Shadow {
 public:
  // What waits; more is dropped.
  static constexpr std::size_t kMaxBytes = 16 << 20;
  static constexpr std::size_t kMaxRows = 8192;

  // `log`, `clock` and `registry` must outlive it.
  Shadow(Log& log, const TopicOptions& topics, const CodecLimits& limits, const Clock& clock,
         MetricRegistry& registry);
  ~Shadow();

  void Start();
  // What still waits is dropped.
  void Stop();
  // The version that shadows its model from now on; null: none does. Any thread.
  void Set(const std::string& model_id, std::shared_ptr<const ModelToServe> version);
  // Any thread. Never waits.
  void Offer(std::vector<ShadowRow> rows);

 private:
  struct Version {
    std::shared_ptr<const ModelToServe> model;
    std::unique_ptr<Runner> runner;  // Of the thread, which makes it.
    Counter* results = nullptr;
    Counter* failed = nullptr;
    Counter* differing = nullptr;
  };
  // A request decoded for the shadow's inputs.
  struct DecodedRow {
    ShadowRow* row = nullptr;
    Record record;
    InferenceRequest request;
    std::vector<std::uint64_t> input;  // Aligned for any number type.
  };

  void Run();
  // Rows of one model, at most as many as one run takes.
  std::vector<ShadowRow> TakeBatch();  // REQUIRES: mutex_ is held, and there are rows.
  void RunRows(Version& version, std::vector<ShadowRow>& rows);
  bool Decode(const ModelToServe& model, ShadowRow& row, DecodedRow* decoded);
  Status RunOne(Version& version, const DecodedRow& decoded);
  void Encode(Version& version, DecodedRow& decoded);
  Status Write();

  Log& log_;
  const TopicOptions topics_;
  const Clock& clock_;
  MetricRegistry& registry_;
  Counter* const dropped_;
  LogLimiter unwritten_{Millis(30'000)};

  // Of the thread.
  RequestDecoder decoder_;
  ResultEncoder encoder_;
  StringScratch scratch_;
  OutputChunk chunk_;
  std::map<std::string, Version> versions_;
  std::unique_ptr<Producer> producer_;
  struct Pending {
    std::string key;
    std::string headers;
    std::string value;
  };
  std::vector<Pending> pending_;

  std::mutex mutex_;
  std::condition_variable work_;
  // Guarded by mutex_.
  std::deque<ShadowRow> rows_;
  std::size_t bytes_ = 0;
  std::map<std::string, std::shared_ptr<const ModelToServe>> wanted_;
  bool changed_ = false;
  bool stop_ = false;

  std::thread thread_;
};

}  // namespace millrace
