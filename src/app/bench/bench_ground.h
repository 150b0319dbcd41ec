// BenchGround: the log, the group and the topics that one measurement runs on.
//
// On the local log a folder of its own, gone afterwards. On a cluster a new group, and topics that
// are made when they are missing; they stay, for Millrace deletes no topic.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "app/bench/bench_run.h"
#include "app/command.h"
#include "app/options.h"
#include "base/status.h"
#include "transport/log.h"

namespace millrace {

class BenchGround {
 public:
  static Result<std::unique_ptr<BenchGround>> Make(const CommandContext& context,
                                                   const BenchPlan& plan);
  ~BenchGround();
  BenchGround(const BenchGround&) = delete;
  BenchGround& operator=(const BenchGround&) = delete;

  const AllOptions& options() const { return options_; }
  Log& log() { return *log_; }

 private:
  explicit BenchGround(const AllOptions& options) : options_(options) {}
  Status OpenFolder(const BenchPlan& plan);
  Status OpenCluster(const CommandContext& context, const BenchPlan& plan);

  AllOptions options_;
  std::filesystem::path folder_;  // Of a local log.
  std::unique_ptr<Log> log_;
};

}  // namespace millrace
