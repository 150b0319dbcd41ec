#include "pipeline/offset_tracker.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "base/check.h"

namespace millrace {

namespace {

constexpr std::size_t kFirstRing = 64;

std::size_t DistanceBytes(Offset from, Offset to) {
  return VarintBytes(static_cast<std::uint64_t>(to.value() - from.value()));
}

// How long a note becomes, while the records of a partition are looked at in their order.
class NoteSize {
 public:
  explicit NoteSize(Offset position) : end_(position), expected_end_(position) {}

  // Before all else: the runs that the note has already.
  void Expect(const OffsetRange& run) {
    const std::size_t bytes =
        DistanceBytes(expected_end_, run.first) + DistanceBytes(run.first, run.end);
    expected_.push_back(bytes);
    later_ += bytes;
    expected_end_ = run.end;
  }
  // Such a record.
  void Keep(Offset offset) {
    if (!in_expected_) later_ -= expected_[next_expected_++];
    in_expected_ = true;
    Join(offset);
  }
  bool Fits(Offset offset) const {
    return used_ + later_ + (in_run_ ? 0 : StartBytes(offset)) <= kMaxNoteVarintBytes;
  }
  void Add(Offset offset) {
    in_expected_ = false;
    Join(offset);
  }
  // A record that is not in the note.
  void Break() {
    in_expected_ = false;
    if (!in_run_) return;
    in_run_ = false;
    used_ -= kMaxLengthBytes - DistanceBytes(first_, end_);
  }

 private:
  // The last run may grow to any length.
  static constexpr std::size_t kMaxLengthBytes = 9;
  std::size_t StartBytes(Offset offset) const {
    return DistanceBytes(end_, offset) + kMaxLengthBytes;
  }
  void Join(Offset offset) {
    if (!in_run_) {
      used_ += StartBytes(offset);
      first_ = offset;
    }
    in_run_ = true;
    end_ = Next(offset);
  }

  Offset end_;  // Of the last run.
  Offset first_;
  bool in_run_ = false;
  std::size_t used_ = 0;
  Offset expected_end_;
  std::vector<std::size_t> expected_;
  std::size_t next_expected_ = 0;
  bool in_expected_ = false;
  std::size_t later_ = 0;
};

}  // namespace

KeyMark::KeyMark(std::string_view key) {
  value_ = static_cast<std::uint32_t>(std::hash<std::string_view>()(key)) & kMask;
  if (value_ == 0) value_ = 1;
}

OffsetTracker::OffsetTracker(Offset position, std::vector<OffsetRange> done)
    : ring_(kFirstRing),
      done_(std::move(done)),
      committed_position_(position),
      sealing_(position),
      read_position_(position) {
  MILLRACE_CHECK(position.value() >= 0);
}

bool OffsetTracker::DoneBefore(Offset offset) {
  while (next_done_ < done_.size() && done_[next_done_].end <= offset) ++next_done_;
  if (next_done_ < done_.size()) return done_[next_done_].first <= offset;
  done_.clear();
  next_done_ = 0;
  return false;
}

std::optional<OffsetTracker::Seq> OffsetTracker::Begin(Offset offset, std::uint32_t bytes,
                                                       KeyMark key) {
  MILLRACE_CHECK(offset >= read_position_);
  if (begun_ - committed_ == ring_.size()) Grow();
  MILLRACE_DCHECK(begun_ - committed_ < ring_.size());
  Entry& entry = At(begun_);
  entry = Entry{offset, nullptr, bytes, key.value() & KeyMark::kMask, State::kOpen};
  read_position_ = Next(offset);
  if (!done_.empty() && DoneBefore(offset)) {
    entry.state = State::kDone;
    entry.bytes = 0;
    ++done_count_;
    ++begun_;
    AdvanceReady();
    return std::nullopt;
  }
  bytes_ += bytes;
  ++open_;
  return begun_++;
}

void OffsetTracker::AdvanceReady() {
  if (ready_ == begun_ || At(ready_).state == State::kOpen) return;
  stuck_ = false;
  note_full_ = false;
  for (; ready_ < begun_; ++ready_) {
    const Entry& entry = At(ready_);
    if (entry.state == State::kOpen) return;
    if (entry.state != State::kFinished) continue;
    --finished_beyond_;
    ++finished_ready_;
  }
  overtaken_ = false;  // Nothing is open.
}

void OffsetTracker::Finish(Seq seq, Outcome* outcome) {
  MILLRACE_CHECK(seq >= ready_ && seq < begun_);
  Entry& entry = At(seq);
  MILLRACE_CHECK(entry.state == State::kOpen && outcome != nullptr);
  entry.state = State::kFinished;
  entry.outcome = outcome;
  bytes_ -= entry.bytes;
  entry.bytes = static_cast<std::uint32_t>(outcome->record.bytes());
  bytes_ += entry.bytes;
  --open_;
  ++finished_beyond_;
  finished_end_ = std::max(finished_end_, seq + 1);
  if (seq < old_mark_) --old_open_;
  if (seq == ready_) AdvanceReady();
}

void OffsetTracker::Advance(Offset position) {
  MILLRACE_CHECK(position >= read_position_);
  read_position_ = position;
}

void OffsetTracker::SealOne(Entry& entry, std::size_t* bytes,
                            std::vector<const Outcome*>* outcomes) {
  outcomes->push_back(entry.outcome);
  *bytes += entry.bytes;
  entry.state = State::kSealed;
  ++sealed_count_;
}

std::size_t OffsetTracker::Seal(std::size_t max_records, std::size_t max_bytes, std::size_t* bytes,
                                std::vector<const Outcome*>* outcomes) {
  MILLRACE_DCHECK(committed_ <= sealed_ && sealed_ <= ready_);
  std::size_t count = 0;
  for (; sealed_ < ready_; ++sealed_) {
    Entry& entry = At(sealed_);
    if (entry.state != State::kFinished) continue;  // Sealed or done when it was beyond.
    if (count == max_records) break;
    if (!outcomes->empty() && *bytes + entry.bytes > max_bytes) break;
    SealOne(entry, bytes, outcomes);
    ++count;
  }
  finished_ready_ -= count;
  return count;
}

template <class F>
void OffsetTracker::ForEachRun(F f) const {
  OffsetRange run;  // Empty: none yet.
  for (Seq seq = sealed_; seq < begun_; ++seq) {
    const Entry& entry = At(seq);
    if (entry.taken()) {
      if (run.first == run.end) run.first = entry.offset;
      run.end = Next(entry.offset);
    } else if (run.first != run.end) {
      f(std::exchange(run, OffsetRange{}));
    }
  }
  // What the note had, and nobody has read yet.
  for (std::size_t i = next_done_; i < done_.size(); ++i) {
    const Offset first = std::max(done_[i].first, read_position_);
    if (done_[i].end <= first) continue;
    if (run.first != run.end && run.end != first) f(std::exchange(run, OffsetRange{}));
    if (run.first == run.end) run.first = first;
    run.end = done_[i].end;
  }
  if (run.first != run.end) f(run);
}

// The size of the note is known from above while records join it: `used` for the runs so far, the
// last of them with room to grow, and `later` for the runs behind that are in it already. A new run
// splits a gap in two, of which the second costs no more than the whole did.
std::size_t OffsetTracker::SealBeyond(std::size_t max_records, std::size_t max_bytes,
                                      std::size_t* bytes, std::vector<const Outcome*>* outcomes) {
  MILLRACE_CHECK(finished_ready_ == 0 && sealed_ == ready_);
  note_full_ = false;
  unit_full_ = false;
  if (finished_beyond_ == 0) return 0;
  const Offset position = sealed_position();
  NoteSize size(position);
  ForEachRun([&](const OffsetRange& run) { size.Expect(run); });
  open_keys_.clear();
  std::uint32_t last_key = 0;  // A run of one key is the rule where thousands wait.
  std::size_t count = 0;
  for (Seq seq = ready_; seq < begun_; ++seq) {
    Entry& entry = At(seq);
    if (entry.taken()) {
      size.Keep(entry.offset);
      continue;
    }
    if (entry.state == State::kFinished && !open_keys_.contains(entry.key)) {
      const bool fits = size.Fits(entry.offset);
      const bool has_room =
          count < max_records && (outcomes->empty() || *bytes + entry.bytes <= max_bytes);
      note_full_ = note_full_ || !fits;
      unit_full_ = unit_full_ || !has_room;
      if (fits && has_room) {
        size.Add(entry.offset);
        SealOne(entry, bytes, outcomes);
        beyond_.push_back(seq);
        ++count;
        continue;
      }
    }
    size.Break();
    if (entry.key != 0 && entry.key != last_key) open_keys_.insert(entry.key);
    last_key = entry.key;
  }
  finished_beyond_ -= count;
  return count;
}

std::string OffsetTracker::Note(std::int64_t events) const {
  if (done_count_ == 0 && beyond_.empty() && done_.empty()) return EncodeNote(sealing_, {}, events);
  std::vector<OffsetRange> done;
  ForEachRun([&](const OffsetRange& run) { done.push_back(run); });
  return EncodeNote(sealing_, done, events);
}

Offset OffsetTracker::sealed_position() const {
  if (sealed_ == begun_) return read_position_;
  if (sealed_ == committed_) return committed_position_;
  return Next(At(sealed_ - 1).offset);
}

void OffsetTracker::CommitSealed() {
  const Offset position = sealing_;
  MILLRACE_CHECK(position >= committed_position_);
  const auto settle = [this](Entry& entry) {
    if (entry.state != State::kSealed) return;
    entry.state = State::kDone;
    entry.outcome = nullptr;
    bytes_ -= entry.bytes;
    --sealed_count_;
    ++done_count_;
  };
  for (; committed_ < sealed_; ++committed_) {
    settle(At(committed_));
    --done_count_;
  }
  for (const Seq seq : beyond_) {
    if (seq >= sealed_) settle(At(seq));
  }
  beyond_.clear();
  committed_position_ = position;
  MILLRACE_CHECK(sealed_count_ == 0);
}

void OffsetTracker::Unseal() {
  const auto restore = [this](Entry& entry) {
    if (entry.state != State::kSealed) return false;
    entry.state = State::kFinished;
    --sealed_count_;
    return true;
  };
  for (Seq seq = committed_; seq < ready_; ++seq) finished_ready_ += restore(At(seq)) ? 1 : 0;
  for (const Seq seq : beyond_) {
    if (seq >= ready_) finished_beyond_ += restore(At(seq)) ? 1 : 0;
  }
  beyond_.clear();
  sealed_ = committed_;
  sealing_ = committed_position_;
  MILLRACE_CHECK(sealed_count_ == 0);
}

void OffsetTracker::Age() {
  stuck_ = open_ > 0 && ready_ == last_ready_;
  overtaken_ = ready_ < last_finished_;
  last_ready_ = ready_;
  last_finished_ = finished_end_;
  for (Seq seq = std::max(old_mark_, ready_); seq < next_mark_; ++seq) {
    if (At(seq).state == State::kOpen) ++old_open_;
  }
  old_mark_ = next_mark_;
  next_mark_ = begun_;
}

void OffsetTracker::Grow() {
  std::vector<Entry> bigger(ring_.size() * 2);
  for (Seq seq = committed_; seq < begun_; ++seq) bigger[seq & (bigger.size() - 1)] = At(seq);
  ring_ = std::move(bigger);
}

}  // namespace millrace
