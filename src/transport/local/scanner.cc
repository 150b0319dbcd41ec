#include "transport/local/scanner.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace millrace::local {
namespace {

// Each poll copies what it reads, so pages are wanted once, but for the inner ones.
// Shorter runs spend more on starting a query than on its rows.
constexpr std::size_t kShortestRun = 64;
// A batch's memory beyond twice what a poll may fill it with came from a giant record: let it go.
constexpr std::size_t kBatchSlackBytes = 64 << 10;

const char* Moved(const char* at, const char* from, const char* to) {
  return at == nullptr ? nullptr : to + (at - from);
}

std::string_view Moved(std::string_view bytes, const char* from, const char* to) {
  return {Moved(bytes.data(), from, to), bytes.size()};
}

// Makes room for `more` bytes. The buffer may move; the records' views follow it.
char* ClaimKeepingViews(std::size_t more, RecordBatch* batch) {
  ByteBuffer& bytes = batch->bytes;
  if (bytes.size() + more <= bytes.capacity()) return bytes.Claim(more);
  const char* const before = bytes.data();
  char* const claimed = bytes.Claim(more);
  const char* const after = bytes.data();
  for (Record& record : batch->records) {
    record.key = Moved(record.key, before, after);
    record.value = Moved(record.value, before, after);
    record.headers = HeadersView(Moved(record.headers.block(), before, after));
  }
  return claimed;
}

std::string_view CopyTo(char*& to, std::string_view bytes) {
  if (bytes.empty()) return {};
  std::memcpy(to, bytes.data(), bytes.size());
  const std::string_view copy(to, bytes.size());
  to += bytes.size();
  return copy;
}

}  // namespace

Status Scanner::Open(int cache_kib) {
  MILLRACE_RETURN_IF_ERROR(connection_.Open(context_.path, context_.durability, cache_kib));
  Status status = connection_.Prepare("BEGIN", &begin_);
  if (status.ok()) status = connection_.Prepare("COMMIT", &end_);
  if (status.ok()) status = connection_.Prepare("PRAGMA data_version", &data_version_);
  if (status.ok()) status = connection_.Prepare("SELECT id, next FROM partitions", &ends_);
  if (!status.ok()) Close();
  return status;
}

void Scanner::Close() {
  for (Partition& partition : partitions_) partition.select = Statement();
  begin_ = Statement();
  end_ = Statement();
  data_version_ = Statement();
  ends_ = Statement();
  connection_.Close();
}

void Scanner::Assign(std::vector<Partition> partitions) {
  partitions_ = std::move(partitions);
  index_of_id_.clear();
  for (std::size_t i = 0; i < partitions_.size(); ++i) index_of_id_[partitions_[i].id] = i;
  turn_ = 0;
  seen_version_ = -1;
  check_again_ = {};
}

void Scanner::Hold(std::size_t partition, bool hold) { partitions_.at(partition).held = hold; }

void Scanner::Wake() {
  woken_.store(true, std::memory_order_release);
  // Also wakes other readers of the log, who look and wait again: it is rare enough.
  context_.notifier->Notify();
}

bool Scanner::HasBacklog() const {
  return std::any_of(partitions_.begin(), partitions_.end(), [](const Partition& partition) {
    return !partition.held && partition.position < partition.end;
  });
}

bool Scanner::AnySkipped() const {
  return std::any_of(partitions_.begin(), partitions_.end(),
                     [](const Partition& partition) { return partition.skipped; });
}

Status Scanner::Poll(const PollLimits& limits, RecordBatch* batch) {
  batch->Clear();
  const std::size_t keep = 2 * limits.max_bytes + kBatchSlackBytes;
  if (batch->bytes.capacity() > keep) batch->bytes.ShrinkTo(keep);
  if (limits.max_records == 0) return {};
  const MonoTime deadline = SystemClock().Now() + limits.max_wait;
  while (true) {
    const bool woken = woken_.exchange(false, std::memory_order_acq_rel);
    const std::uint32_t sequence = context_.notifier->Sequence();
    MonoTime now = SystemClock().Now();
    if (sequence != checked_sequence_ || now >= check_again_ || HasBacklog()) {
      MILLRACE_RETURN_IF_ERROR(ReadOnce(limits, batch));
      checked_sequence_ = sequence;
      now = SystemClock().Now();
      check_again_ = now + Notifier::kLongestWait;
    }
    if (!batch->records.empty() || woken || AnySkipped() || now >= deadline) return {};
    context_.notifier->Wait(sequence, std::min(deadline, check_again_) - now);
  }
}

Status Scanner::ReadOnce(const PollLimits& limits, RecordBatch* batch) {
  if (!connection_.open()) MILLRACE_RETURN_IF_ERROR(Open());
  Status status;
  {
    const ReadTransaction transaction(begin_, end_);
    if (transaction.code() != SQLITE_DONE) {
      status = connection_.Error(transaction.code());
    } else {
      status = LookAtEnds();
      if (status.ok()) {
        error_ = SQLITE_OK;
        ReadRounds(limits, batch);
        // What was read before the error is good and its position stands; the next poll meets the
        // error again.
        if (error_ != SQLITE_OK && batch->records.empty()) status = connection_.Error(error_);
      }
    }
  }
  if (!status.ok()) {
    Close();
    seen_version_ = -1;
  }
  return status;
}

Status Scanner::LookAtEnds() {
  std::int64_t version = 0;
  {
    const ResetAtExit reset(data_version_);
    const int code = data_version_.Step();
    if (code != SQLITE_ROW) return connection_.Error(code);
    version = data_version_.Int(0);
  }
  if (version == seen_version_) return {};
  const ResetAtExit reset(ends_);
  int code = SQLITE_OK;
  while ((code = ends_.Step()) == SQLITE_ROW) {
    const auto found = index_of_id_.find(ends_.Int(0));
    if (found != index_of_id_.end()) partitions_[found->second].end = ends_.Int(1);
  }
  if (code != SQLITE_DONE) return connection_.Error(code);
  seen_version_ = version;
  return {};
}

void Scanner::ReadRounds(const PollLimits& limits, RecordBatch* batch) {
  active_.clear();
  for (std::size_t i = 0; i < partitions_.size(); ++i) {
    const std::size_t index = (turn_ + i) % partitions_.size();
    const Partition& partition = partitions_[index];
    if (!partition.held && partition.position < partition.end) active_.push_back(index);
  }
  batch->records.reserve(limits.max_records);
  while (!active_.empty()) {
    const std::size_t room = limits.max_records - batch->records.size();
    const std::size_t share = std::max(room / active_.size(), kShortestRun);
    std::size_t kept = 0;
    for (std::size_t i = 0; i < active_.size(); ++i) {
      const std::size_t left = limits.max_records - batch->records.size();
      const std::size_t index = active_[i];
      if (left == 0) {
        turn_ = index;
        return;
      }
      const RunEnd end = ReadRun(index, std::min(share, left), limits.max_bytes, batch);
      if (end == RunEnd::kBytes || end == RunEnd::kError) {
        turn_ = index;
        return;
      }
      if (end == RunEnd::kQuota) active_[kept++] = index;
    }
    active_.resize(kept);
  }
}

Scanner::RunEnd Scanner::ReadRun(std::size_t index, std::size_t quota, std::size_t max_bytes,
                                 RecordBatch* batch) {
  Partition& partition = partitions_[index];
  if (!partition.select.prepared()) {
    const Status status = connection_.Prepare(
        fmt::format("SELECT offset, timestamp, key, headers, value FROM records_{} "
                    "WHERE offset >= ?1 ORDER BY offset",
                    partition.id),
        &partition.select);
    if (!status.ok()) {
      error_ = sqlite3_extended_errcode(connection_.handle());
      return RunEnd::kError;
    }
  }
  Statement& row = partition.select;
  const ResetAtExit reset(row);
  row.Bind(1, partition.position);
  for (std::size_t read = 0; read < quota; ++read) {
    const int code = row.Step();
    if (code == SQLITE_DONE) {
      if (partition.position < partition.end) {
        partition.position = partition.end;
        partition.skipped = true;
      }
      return RunEnd::kPartitionEnd;
    }
    if (code != SQLITE_ROW) {
      error_ = code;
      return RunEnd::kError;
    }
    const std::string_view key = row.Bytes(2);
    const std::string_view headers = row.Bytes(3);
    const std::string_view value = row.Bytes(4);
    const std::size_t bytes = key.size() + headers.size() + value.size();
    if (!batch->records.empty() && batch->bytes.size() + bytes > max_bytes) {
      return RunEnd::kBytes;
    }
    char* to = ClaimKeepingViews(bytes, batch);
    Record& record = batch->records.emplace_back();
    record.has_key = !key.empty() || !row.IsNull(2);
    record.has_value = !value.empty() || !row.IsNull(4);
    record.key = CopyTo(to, key);
    record.headers = HeadersView(CopyTo(to, headers));
    record.value = CopyTo(to, value);
    batch->bytes.Commit(bytes);
    record.offset = Offset(row.Int(0));
    record.timestamp = row.Int(1);
    record.slot = PartitionSlot(static_cast<std::int32_t>(index));
    partition.position = record.offset.value() + 1;
  }
  return partition.position < partition.end ? RunEnd::kQuota : RunEnd::kPartitionEnd;
}

}  // namespace millrace::local
