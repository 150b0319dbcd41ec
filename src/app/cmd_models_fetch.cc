#include "app/cmd_models_fetch.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>

#include "app/progress_line.h"
#include "app/signals.h"
#include "app/text_table.h"
#include "codec/json_writer.h"
#include "config/manifest_reader.h"
#include "models/model_store.h"

namespace millrace {
namespace {

constexpr std::size_t kBarCells = 30;

// "[#######...] 70 %, 12,345 of 17,636 bytes"; without a size only the bytes.
std::string ProgressText(std::int64_t done, std::int64_t total) {
  if (total <= 0) return Grouped(done) + " bytes";
  const double part = std::min(static_cast<double>(done) / static_cast<double>(total), 1.0);
  const auto filled = static_cast<std::size_t>(part * static_cast<double>(kBarCells));
  return fmt::format("[{}{}] {:.0f} %, {} of {} bytes", std::string(filled, '#'),
                     std::string(kBarCells - filled, '.'), part * 100, Grouped(done),
                     Grouped(total));
}

void Print(const StoredModel& stored, OutputFormat format) {
  if (format == OutputFormat::kTable) {
    fmt::print("{}\n{} bytes, sha256 {}{}\n", stored.path, Grouped(stored.bytes), stored.sha256,
               stored.was_cached ? ", was in the cache" : "");
    if (!stored.manifest_path.empty()) fmt::print("{}\n", stored.manifest_path);
    return;
  }
  std::string out;
  JsonWriter json(out);
  json.BeginObject().Member("path", stored.path).Member("manifest_path", stored.manifest_path);
  json.Member("sha256", stored.sha256).Member("bytes", stored.bytes);
  json.Member("cached", stored.was_cached).EndObject();
  fmt::print("{}\n", out);
}

int FetchModel(CommandContext& context, const ModelLocation& location) {
  StopSignals signals;
  ModelStore store(context.options.repository, SystemClock(), ReadModelManifest);
  signals.OnStop([&store] { store.Cancel(); });
  ProgressLine line(context.stderr_is_terminal);
  const Result<StoredModel> stored =
      store.Fetch(location, [&line](std::int64_t done, std::int64_t total) {
        if (line.Due()) line.Show(ProgressText(done, total));
      });
  line.Clear();
  signals.Close();
  if (!stored.ok()) return Fail(context.command, stored.status());
  Print(*stored, context.output);
  return kExitOk;
}

}  // namespace

void RegisterModelsFetch(CLI::App& models, CommandTable& table) {
  CLI::App* const fetch = models.add_subcommand(
      "fetch", "Bring a model file to this host, verify it, and print where it is");
  auto location = std::make_shared<ModelLocation>();
  fetch
      ->add_option(
          "URI", location->uri,
          "Of model.onnx, or of its folder, ending in '/': https:, http:, s3://bucket/key, "
          "file:, a path, or relative to repository.store")
      ->required();
  fetch->add_option("--sha256", location->sha256,
                    "Digest that the file must have; without it, that of the model.yaml beside the "
                    "file, or any");
  fetch->footer(
      "Examples:\n"
      "  millrace models fetch https://example.com/fraud/3/ "
      "-s repository.allow_hosts=example.com\n"
      "  millrace models fetch s3://models/fraud/3/model.onnx --sha256 9f86d081...\n"
      "  millrace models fetch fraud/3/ -s repository.store=s3://models -o json");
  table.commands.emplace_back(fetch, [location](CommandContext& context) {
    location->digest_optional = location->sha256.empty();
    return FetchModel(context, *location);
  });
}

}  // namespace millrace
