#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "app/command.h"
#include "app/line_reader.h"
#include "app/local_topics.h"
#include "app/log_scan.h"
#include "app/progress_line.h"
#include "app/signals.h"
#include "app/text_table.h"
#include "codec/json_writer.h"
#include "codec/request_builder.h"

namespace millrace {
namespace {

constexpr std::size_t kMaxBatchRecords = 1000;
constexpr std::size_t kMaxBatchBytes = 4 << 20;
constexpr Millis kMaxBatchAge{5};
// How long the sender sleeps or waits for input before it looks for a stop signal.
constexpr Millis kLookAround{100};
// Bad lines that are told of one by one; further ones are only counted.
constexpr std::int64_t kMaxReported = 100;
constexpr const char* kStdin = "-";

struct SendFlags {
  std::vector<std::string> files;
  std::string model, tenant, id_prefix;
  std::string format = "auto";
  double rate = 0;
  std::int64_t limit = 0;
  std::int64_t repeat = 1;
  std::int64_t timeout_ms = 0;
  bool raw = false;
};

class File {
 public:
  explicit File(const std::string& path)
      : fd_(path == kStdin ? STDIN_FILENO : ::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {}
  ~File() {
    if (fd_ > STDIN_FILENO) ::close(fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  int fd() const { return fd_; }

 private:
  const int fd_;
};

std::uint64_t RandomSalt() {
  std::random_device device;
  return (std::uint64_t{device()} << 32) | device();
}

class Sender {
 public:
  Sender(const CommandContext& context, const SendFlags& flags, Producer& producer,
         const StopSignals& signals)
      : flags_(flags),
        topic_(context.options.transport.topics.requests),
        producer_(producer),
        signals_(signals),
        builder_(context.options.limits,
                 {.tenant_id = flags.tenant,
                  .model_id = flags.model,
                  .id_prefix = flags.id_prefix,
                  .timeout_ms = flags.timeout_ms},
                 RandomSalt()),
        progress_(context.stderr_is_terminal) {}

  Status SendFile(const std::string& path) {
    const std::string name = path == kStdin ? "stdin" : path;
    File file(path);
    if (file.fd() < 0) {
      return {StatusCode::kNotFound, fmt::format("cannot open {}: {}", name, std::strerror(errno))};
    }
    is_csv_ = flags_.format == "csv" || (flags_.format == "auto" && path.ends_with(".csv"));
    columns_.reset();
    LineReader lines(file.fd());
    while (!Done()) {
      std::string_view line;
      const LineReader::Event event = lines.Next(MaxWait(), &line);
      if (event == LineReader::Event::kEnd) break;
      if (event == LineReader::Event::kError) {
        return {StatusCode::kInternal,
                fmt::format("cannot read {}: {}", name, std::strerror(errno))};
      }
      if (event == LineReader::Event::kTooLong) {
        Report(name, lines.line_number(),
               fmt::format("it is longer than {} bytes", LineReader::kMaxLineBytes));
      } else if (event == LineReader::Event::kLine) {
        MILLRACE_RETURN_IF_ERROR(TakeLine(name, lines.line_number(), line));
      }
      if (BatchIsDue()) MILLRACE_RETURN_IF_ERROR(Flush());
      Show();
    }
    return Flush();
  }

  bool Done() const {
    return signals_.stopped() || (flags_.limit > 0 && accepted_ >= flags_.limit);
  }

  // What was appended so far; also after an error.
  void Summarize(OutputFormat format) {
    progress_.Clear();
    const double seconds = Elapsed();
    const double rate = seconds > 0 ? static_cast<double>(sent_) / seconds : 0;
    if (refused_ > kMaxReported) {
      fmt::print(stderr, "{} further lines were not sent\n", Grouped(refused_ - kMaxReported));
    }
    if (format == OutputFormat::kJson) {
      std::string out;
      JsonWriter json(out);
      json.BeginObject().Member("topic", topic_).Member("sent", sent_).Member("refused", refused_);
      json.Member("bytes", sent_bytes_).Member("seconds", seconds);
      json.Member("requests_per_second", std::round(rate));
      json.Member("interrupted", signals_.stopped()).EndObject();
      fmt::print("{}\n", out);
      return;
    }
    fmt::print("sent {} requests to {} in {:.2f} s ({}/s){}{}\n", Grouped(sent_), topic_, seconds,
               Grouped(std::llround(rate)),
               refused_ > 0 ? fmt::format(", {} lines refused", Grouped(refused_)) : "",
               signals_.stopped() ? ", interrupted" : "");
  }

  std::int64_t refused() const { return refused_; }

 private:
  Status TakeLine(const std::string& name, std::int64_t number, std::string_view line) {
    if (line.ends_with('\r') && !flags_.raw) line.remove_suffix(1);
    if (line.find_first_not_of(" \t") == std::string_view::npos) return Status::Ok();
    if (is_csv_ && !columns_) {
      std::string error;
      columns_ = CsvColumns::Parse(line, &error);
      if (columns_) return Status::Ok();
      return {StatusCode::kInvalidArgument, fmt::format("{}:{}: {}", name, number, error)};
    }
    MILLRACE_RETURN_IF_ERROR(WaitForRate());
    if (Done()) return Status::Ok();
    const WallMillis now = SystemClock().WallNow();
    BuiltRequest built;
    std::optional<std::string> error;
    if (is_csv_) {
      error = builder_.FromCsv(*columns_, line, now, bytes_, &built);
    } else if (flags_.raw) {
      builder_.FromRaw(line, bytes_, &built);
    } else {
      error = builder_.FromJson(line, now, bytes_, &built);
    }
    if (error) {
      Report(name, number, *error);
      return Status::Ok();
    }
    if (batch_.empty()) batch_started_ = SystemClock().Now();
    batch_.push_back(built);
    ++accepted_;
    return Status::Ok();
  }

  // Returns when --rate allows another record. What is waiting is sent before it sleeps.
  Status WaitForRate() {
    if (flags_.rate <= 0) return Status::Ok();
    while (!Done()) {
      const double ahead = static_cast<double>(accepted_) / flags_.rate - Elapsed();
      if (ahead <= 0) break;
      MILLRACE_RETURN_IF_ERROR(Flush());
      Show();
      const auto pause = std::chrono::ceil<Millis>(std::chrono::duration<double>(ahead));
      std::this_thread::sleep_for(std::min(pause, kLookAround));
    }
    return Status::Ok();
  }

  Millis MaxWait() const { return batch_.empty() ? kLookAround : kMaxBatchAge; }

  bool BatchIsDue() const {
    if (batch_.empty()) return false;
    return batch_.size() >= kMaxBatchRecords || bytes_.size() >= kMaxBatchBytes ||
           SystemClock().Now() - batch_started_ >= kMaxBatchAge;
  }

  Status Flush() {
    if (batch_.empty()) return Status::Ok();
    records_.clear();
    const auto view = [&](ByteSpan span) { return bytes_.view(span.at, span.size); };
    for (const BuiltRequest& built : batch_) {
      ProducerRecord& record = records_.emplace_back();
      record.key = view(built.key);
      record.value = view(built.value);
      record.headers = HeadersView(view(built.headers));
      record.has_key = built.has_key;
    }
    MILLRACE_RETURN_IF_ERROR(producer_.Append(topic_, records_).WithContext("publishing"));
    sent_ += static_cast<std::int64_t>(batch_.size());
    sent_bytes_ += static_cast<std::int64_t>(bytes_.size());
    batch_.clear();
    bytes_.Clear();
    return Status::Ok();
  }

  void Report(const std::string& name, std::int64_t number, const std::string& why) {
    if (++refused_ > kMaxReported) return;
    progress_.Clear();
    fmt::print(stderr, "{}:{}: not sent: {}\n", name, number, why);
  }

  void Show() {
    if (!progress_.Due()) return;
    const double seconds = Elapsed();
    progress_.Show(
        fmt::format("sent {} requests, {}/s{}", Grouped(sent_),
                    Grouped(std::llround(seconds > 0 ? static_cast<double>(sent_) / seconds : 0)),
                    refused_ > 0 ? fmt::format(", {} lines refused", Grouped(refused_)) : ""));
  }

  double Elapsed() const {
    return std::chrono::duration<double>(SystemClock().Now() - started_).count();
  }

  const SendFlags& flags_;
  const std::string topic_;
  Producer& producer_;
  const StopSignals& signals_;
  RequestBuilder builder_;
  ProgressLine progress_;
  const MonoTime started_ = SystemClock().Now();

  bool is_csv_ = false;
  std::optional<CsvColumns> columns_;  // Of the CSV file at hand, once its header row was read.

  std::vector<BuiltRequest> batch_;  // Not sent yet; their bytes are in bytes_.
  ByteBuffer bytes_;
  std::vector<ProducerRecord> records_;
  MonoTime batch_started_{};

  std::int64_t accepted_ = 0;
  std::int64_t sent_ = 0;
  std::int64_t sent_bytes_ = 0;
  std::int64_t refused_ = 0;
};

Status CheckFlags(const SendFlags& flags) {
  const bool from_stdin =
      std::find(flags.files.begin(), flags.files.end(), kStdin) != flags.files.end();
  if (flags.repeat > 1 && from_stdin) {
    return {StatusCode::kInvalidArgument, "--repeat needs files: stdin can be read only once"};
  }
  if (flags.raw && flags.format == "csv") {
    return {StatusCode::kInvalidArgument, "--raw publishes lines as they are: it takes no CSV"};
  }
  return Status::Ok();
}

int Send(CommandContext& context, SendFlags flags) {
  if (flags.files.empty()) flags.files.emplace_back(kStdin);
  if (flags.raw && flags.format == "auto") flags.format = "ndjson";
  if (const Status status = CheckFlags(flags); !status.ok()) return Fail(context.command, status);
  StopSignals signals;  // Before the log starts threads, so that all inherit the mask.
  auto log = context.OpenLog();
  if (!log.ok()) return Fail(context.command, log.status());
  if (const Status topics = EnsureLocalTopics(**log, context.options); !topics.ok()) {
    return Fail(context.command, topics);
  }
  // On Kafka topics are made by whoever runs the cluster: say that one is missing before reading.
  const auto partitions = PartitionCount(**log, context.options.transport.topics.requests);
  if (!partitions.ok()) return Fail(context.command, partitions.status());
  auto producer = (*log)->NewProducer();
  if (!producer.ok()) return Fail(context.command, producer.status());
  Sender sender(context, flags, **producer, signals);
  Status status;
  for (std::int64_t round = 0; round < flags.repeat && status.ok() && !sender.Done(); ++round) {
    for (const std::string& file : flags.files) {
      status = sender.SendFile(file);
      if (!status.ok() || sender.Done()) break;
    }
  }
  sender.Summarize(context.output);
  if (!status.ok()) return Fail(context.command, status);
  return sender.refused() > 0 ? kExitFailure : kExitOk;
}

void AddFlags(CLI::App& command, SendFlags& flags) {
  command.add_option("file", flags.files, "NDJSON or CSV files; none or - reads stdin");
  command.add_option("--model", flags.model, "model_id of lines that name none")->type_name("ID");
  command.add_option("--tenant", flags.tenant, "tenant_id of lines that name none")
      ->type_name("ID");
  command
      .add_option("--format", flags.format,
                  "What the lines are; auto takes *.csv for CSV, all else for NDJSON")
      ->check(CLI::IsMember({"auto", "ndjson", "csv"}))
      ->capture_default_str();
  command.add_option("--rate", flags.rate, "At most so many requests a second")
      ->type_name("N")
      ->check(CLI::PositiveNumber);
  command.add_option("--limit", flags.limit, "Stop after so many requests")
      ->type_name("N")
      ->check(CLI::PositiveNumber);
  command
      .add_option("--repeat", flags.repeat,
                  "Send the files so many times. Ids that stand in them are sent again as they are")
      ->type_name("N")
      ->check(CLI::PositiveNumber);
  command.add_option("--id-prefix", flags.id_prefix, "In front of every generated request_id")
      ->type_name("TEXT");
  command.add_option("--timeout-ms", flags.timeout_ms, "timeout_ms of lines that have none")
      ->type_name("MS")
      ->check(CLI::PositiveNumber);
  command.add_flag("--raw", flags.raw, "Publish lines as they are, without looking for mistakes");
}

}  // namespace

void RegisterSend(CLI::App& root, CommandTable& table) {
  CLI::App* const command = root.add_subcommand(
      "send",
      "Publish requests from NDJSON or CSV. What a line lacks is added: request_id, tenant_id, "
      "model_id, enqueued_at. Lines that no worker would take are reported and left out");
  auto flags = std::make_shared<SendFlags>();
  AddFlags(*command, *flags);
  command->footer(
      "Examples:\n"
      "  millrace send --data ./log requests.ndjson\n"
      "  millrace send -b broker:9092 requests.ndjson\n"
      "  millrace send --data ./log --model cancer-mlp --tenant acme rows.csv --rate 500\n"
      "  echo '{\"input\":[1,2,3]}' | millrace send --data ./log --model m --tenant t\n"
      "\n"
      "In CSV the header row names the columns: request_id, tenant_id, model_id, model_version "
      "and\n"
      "label (it goes to metadata) are taken as such, all others are the numbers of `input`.");
  table.commands.emplace_back(command,
                              [flags](CommandContext& context) { return Send(context, *flags); });
}

}  // namespace millrace
