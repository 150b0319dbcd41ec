#include "app/model_board.h"

#include <optional>

#include "app/log_scan.h"
#include "codec/model_event.h"

namespace millrace {
namespace {

template <class OnRecord>
Status ReadTopic(Log& log, const std::string& topic, OnRecord on_record) {
  Result<LogScan> scan =
      LogScan::Open(log, {LogScan::Wanted{topic, {}, std::nullopt, false}}, false);
  if (!scan.ok()) return scan.status();
  RecordBatch batch;
  while (!scan->done()) {
    MILLRACE_RETURN_IF_ERROR(scan->Poll(&batch));
    for (const Record& record : batch.records) on_record(record);
  }
  return {};
}

}  // namespace

Result<ModelBoard> ReadModelBoard(Log& log, const TopicOptions& topics) {
  ModelBoard board;
  MILLRACE_RETURN_IF_ERROR(ReadTopic(log, topics.events, [&board](const Record& record) {
    const Result<ModelEvent> event = DecodeModelEvent(record);
    if (!event.ok() || event->model_id.empty()) return;  // Workers tell of these.
    ModelBoard::Entry& entry = board.models[event->model_id];
    entry.has_events = true;
    ApplyEvent(*event, &entry.target);
  }));
  const Status read = ReadTopic(log, topics.status, [&board](const Record& record) {
    if (record.has_value) {
      Result<ModelStatus> status = DecodeModelStatus(record);
      if (!status.ok()) return;
      std::string worker = status->worker;
      board.models[status->model_id].workers.insert_or_assign(std::move(worker),
                                                              std::move(status).value());
      return;
    }
    const std::size_t bar = record.key.find('|');
    if (bar == std::string_view::npos) return;
    const auto found = board.models.find(std::string(record.key.substr(0, bar)));
    if (found != board.models.end()) {
      found->second.workers.erase(std::string(record.key.substr(bar + 1)));
    }
  });
  board.has_status_topic = read.code() != StatusCode::kNotFound;
  if (!read.ok() && board.has_status_topic) return read;
  return board;
}

}  // namespace millrace
