#include "pipeline/offset_tracker.h"

#include "base/check.h"

namespace millrace {

namespace {
constexpr std::size_t kFirstRing = 64;
}

OffsetTracker::OffsetTracker(Offset position)
    : ring_(kFirstRing),
      committed_position_(position),
      sealing_(position),
      read_position_(position) {
  MILLRACE_CHECK(position.value() >= 0);
}

OffsetTracker::Seq OffsetTracker::Begin(Offset offset, std::uint32_t bytes) {
  MILLRACE_CHECK(offset >= read_position_);
  if (begun_ - committed_ == ring_.size()) Grow();
  MILLRACE_DCHECK(begun_ - committed_ < ring_.size());
  At(begun_) = Entry{offset, nullptr, bytes};
  read_position_ = Next(offset);
  bytes_ += bytes;
  return begun_++;
}

void OffsetTracker::Finish(Seq seq, Outcome* outcome) {
  MILLRACE_CHECK(seq >= ready_ && seq < begun_);
  Entry& entry = At(seq);
  MILLRACE_CHECK(entry.outcome == nullptr && outcome != nullptr);
  entry.outcome = outcome;
  bytes_ -= entry.bytes;
  entry.bytes = static_cast<std::uint32_t>(outcome->record.bytes());
  bytes_ += entry.bytes;
  while (ready_ < begun_ && At(ready_).outcome != nullptr) ++ready_;
}

void OffsetTracker::Advance(Offset position) {
  MILLRACE_CHECK(position >= read_position_);
  read_position_ = position;
}

std::size_t OffsetTracker::Seal(std::size_t max_records, std::size_t max_bytes, std::size_t* bytes,
                                std::vector<const Outcome*>* outcomes) {
  MILLRACE_DCHECK(committed_ <= sealed_ && sealed_ <= ready_);
  const Seq first = sealed_;
  while (sealed_ < ready_ && sealed_ - first < max_records) {
    const Entry& entry = At(sealed_);
    if (!outcomes->empty() && *bytes + entry.bytes > max_bytes) break;
    outcomes->push_back(entry.outcome);
    *bytes += entry.bytes;
    ++sealed_;
  }
  return static_cast<std::size_t>(sealed_ - first);
}

Offset OffsetTracker::sealed_position() const {
  if (sealed_ == begun_) return read_position_;
  if (sealed_ == committed_) return committed_position_;
  return Next(At(sealed_ - 1).offset);
}

void OffsetTracker::CommitSealed() {
  const Offset position = sealing_;
  MILLRACE_CHECK(position >= committed_position_);
  for (Seq seq = committed_; seq < sealed_; ++seq) bytes_ -= At(seq).bytes;
  committed_position_ = position;
  committed_ = sealed_;
  MILLRACE_DCHECK(committed_ <= ready_);
}

void OffsetTracker::Unseal() {
  MILLRACE_CHECK(sealed_ >= committed_ && sealed_ <= ready_);
  sealed_ = committed_;
  sealing_ = committed_position_;
}

void OffsetTracker::Grow() {
  std::vector<Entry> bigger(ring_.size() * 2);
  for (Seq seq = committed_; seq < begun_; ++seq) bigger[seq & (bigger.size() - 1)] = At(seq);
  ring_ = std::move(bigger);
}

}  // namespace millrace
