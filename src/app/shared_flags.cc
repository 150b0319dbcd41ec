#include "app/shared_flags.h"

#include <CLI/CLI.hpp>
#include <array>

namespace millrace {
namespace {

struct FlagOfSetting {
  const char* flag;
  const char* path;
  std::string SharedFlags::*value;
};

constexpr std::array<FlagOfSetting, 8> kFlags = {{
    {"--brokers", "kafka.brokers", &SharedFlags::brokers},
    {"--group", "kafka.group", &SharedFlags::group},
    {"--transport", "transport", &SharedFlags::transport},
    {"--data", "local.dir", &SharedFlags::data},
    {"--models", "repository.dir", &SharedFlags::models},
    {"--ort-library", "runtime.ort_library", &SharedFlags::ort_library},
    {"--log-level", "telemetry.log_level", &SharedFlags::log_level},
    {"--log-format", "telemetry.log_format", &SharedFlags::log_format},
}};

}  // namespace

void AddSharedFlags(CLI::App& command, SharedFlags& flags, bool hidden) {
  const std::string log = hidden ? "" : "Log";
  const std::string settings = hidden ? "" : "Settings and output";
  const auto add = [&command](const std::string& group, const char* names, auto& value,
                              const char* type, const char* description) {
    return command.add_option(names, value, description)->type_name(type)->group(group);
  };
  add(log, "-b,--brokers,--bootstrap-server", flags.brokers, "HOSTS",
      "Addresses of the Kafka cluster: host:port, separated by commas");
  add(log, "-g,--group", flags.group, "NAME", "Consumer group of the worker");
  add(log, "--transport", flags.transport, "", "Which log: a Kafka cluster, or a folder here")
      ->check(CLI::IsMember({"kafka", "local"}));
  add(log, "--data", flags.data, "DIR", "Folder of the local log; implies --transport local");
  add(log, "-X", flags.properties, "NAME=VALUE", "Property of librdkafka; repeatable")
      ->allow_extra_args(false);
  add(settings, "-c,--config", flags.files, "FILE", "Settings file (YAML); repeatable, later wins")
      ->allow_extra_args(false);
  add(settings, "-s,--set", flags.assignments, "NAME=VALUE",
      "Any setting, such as batch.max_rows=128; repeatable")
      ->allow_extra_args(false);
  add(settings, "--models", flags.models, "DIR", "Model repository");
  add(settings, "--ort-library", flags.ort_library, "FILE", "Path of libonnxruntime.so");
  add(settings, "--log-level", flags.log_level, "", "Least severe message that is logged")
      ->check(CLI::IsMember({"debug", "info", "warn", "error"}));
  add(settings, "--log-format", flags.log_format, "", "Shape of log lines")
      ->check(CLI::IsMember({"text", "json"}));
  add(settings, "-o,--output", flags.output, "", "What is printed on stdout")
      ->check(CLI::IsMember({"table", "json"}));
}

Result<std::vector<FlagValue>> FlagValues(const CLI::App& command, const SharedFlags& flags) {
  std::vector<FlagValue> values;
  if (command.count("--data") > 0) values.push_back({"--data", "transport", "local"});
  for (const FlagOfSetting& flag : kFlags) {
    if (command.count(flag.flag) > 0) values.push_back({flag.flag, flag.path, flags.*flag.value});
  }
  for (const std::string& text : flags.properties) {
    Result<FlagValue> value = ParseFlagAssignment("-X", text);
    if (!value.ok()) return value.status();
    value->path = "kafka.properties." + value->path;
    values.push_back(std::move(*value));
  }
  for (const std::string& text : flags.assignments) {
    Result<FlagValue> value = ParseFlagAssignment("-s", text);
    if (!value.ok()) return value.status();
    values.push_back(std::move(*value));
  }
  return values;
}

}  // namespace millrace
