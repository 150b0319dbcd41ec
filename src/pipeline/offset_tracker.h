// OffsetTracker: which offsets of one partition, in one epoch, have their outcome, what of it may
// be committed, and what is committed beyond the committed position.
//
// A record is open until it has its outcome, then finished, sealed into a unit of work, and done
// when that has committed. The *prefix* is what stands before the first open record:
//
//   committed <= sealed <= ready <= begun        (counts of records, in offset order)
//
// Seal takes finished outcomes out of [sealed, ready). SealBeyond takes those behind `ready`, of
// keys that no open record before them has, so that outcomes of one key keep their order. The
// position never passes an open record; what is done beyond it stands in the position's note.
// CommitSealed makes history of what is sealed, Unseal (the unit did not commit) gives it back, to
// be sealed again. Offsets grow but may have gaps (control records, compaction).
//
// Pure: no thread, no lock, no clock. One caller at a time. Memory: one 24-byte entry per record
// between committed and begun; who begins records bounds them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "base/strong.h"
#include "pipeline/outcome.h"
#include "pipeline/position_note.h"

namespace millrace {

// Stands for the key of a record; two keys may share one, then they wait for each other needlessly.
class KeyMark {
 public:
  KeyMark() = default;  // No key: its record waits for none and none waits for it.
  explicit KeyMark(std::string_view key);
  std::uint32_t value() const { return value_; }
  static constexpr int kBits = 30;
  static constexpr std::uint32_t kMask = (std::uint32_t{1} << kBits) - 1;

 private:
  std::uint32_t value_ = 0;
};

class OffsetTracker {
 public:
  using Seq = std::uint64_t;

  // Everything below `position` is committed, and what `done` lists (see DecodeNote).
  explicit OffsetTracker(Offset position, std::vector<OffsetRange> done = {});

  // Registers a record. Nothing when it is done already: it is to be skipped.
  // REQUIRES: `offset` is at or above every position and above every offset begun before.
  std::optional<Seq> Begin(Offset offset, std::uint32_t bytes, KeyMark key = {});

  // REQUIRES: `seq` was begun and not finished; `outcome` stays until committed or dropped.
  void Finish(Seq seq, Outcome* outcome);

  // Nothing was read, but the log goes on at `position`.
  void Advance(Offset position);

  // Appends up to `max_records` ready outcomes, in offset order, and marks them sealed; a unit may
  // be sealed in several steps. Stops before the outcome that would make `*bytes` exceed
  // `max_bytes`, unless it is the first of all. Returns how many.
  std::size_t Seal(std::size_t max_records, std::size_t max_bytes, std::size_t* bytes,
                   std::vector<const Outcome*>* outcomes);
  // The same for what is finished beyond the prefix, as far as its offsets fit into the note. Looks
  // at every record between ready and begun. REQUIRES: nothing is ready.
  std::size_t SealBeyond(std::size_t max_records, std::size_t max_bytes, std::size_t* bytes,
                         std::vector<const Outcome*>* outcomes);

  // The unit is complete: the position to commit with it, whatever the log does meanwhile.
  Offset FixPosition() { return sealing_ = sealed_position(); }
  // The note to keep beside that position, with how far the model events have come.
  std::string Note(std::int64_t events = 0) const;

  // The sealed outcomes, and the position that was fixed, are durable: forgets them.
  void CommitSealed();
  // The unit did not commit: the sealed outcomes are finished again.
  void Unseal();

  // Calls `f(Outcome*)` for every outcome that is not committed; for dropping a partition.
  template <class F>
  void ForEachFinished(F f) const {
    for (Seq seq = committed_; seq < begun_; ++seq) {
      if (At(seq).outcome != nullptr) f(At(seq).outcome);
    }
  }

  // Called once a while. A partition whose first open record is the same as at the last call is
  // stuck until that one is finished. One whose prefix moves, but has not come to what was finished
  // at the last call already, is overtaken until the next one: its outcomes are made in another
  // order than its records have, as tenants' shares or priorities will have it. In both what was
  // begun before the last call but one is old.
  void Age();
  bool stuck() const { return stuck_; }
  bool overtaken() const { return overtaken_; }
  // What is behind the first open record should not wait for it.
  bool goes_beyond() const { return stuck_ || overtaken_; }
  // Open records that nothing should wait for.
  std::size_t old_open() const { return goes_beyond() ? old_open_ : 0; }

  // The position to commit with what is sealed: the next offset that is not covered.
  Offset sealed_position() const;
  // The position that is committed.
  Offset committed_position() const { return committed_position_; }
  // Whether a commit would change the committed position or its note.
  bool dirty() const { return !beyond_.empty() || sealed_position() > committed_position_; }

  std::size_t open() const { return open_; }
  std::size_t ready() const { return finished_ready_; }    // Finished, in the prefix.
  std::size_t beyond() const { return finished_beyond_; }  // Finished, behind it.
  std::size_t sealed() const { return sealed_count_; }
  // Records that are begun and not done.
  std::size_t in_flight() const {
    return open_ + finished_ready_ + finished_beyond_ + sealed_count_;
  }
  // Records between the committed position and the last begun one, done ones too.
  std::size_t span() const { return static_cast<std::size_t>(begun_ - committed_); }
  // Since the last SealBeyond: the note took no more; the unit did not.
  bool note_full() const { return note_full_; }
  bool unit_full() const { return unit_full_; }
  // Input bytes of open records and output bytes of finished and sealed ones.
  std::size_t bytes() const { return bytes_; }

 private:
  enum class State : std::uint32_t { kOpen, kFinished, kSealed, kDone };
  struct Entry {
    Offset offset;
    Outcome* outcome = nullptr;  // While finished or sealed.
    std::uint32_t bytes = 0;
    std::uint32_t key : KeyMark::kBits = 0;
    State state : 32 - KeyMark::kBits = State::kOpen;
    bool taken() const { return state == State::kSealed || state == State::kDone; }
  };
  const Entry& At(Seq seq) const { return ring_[seq & (ring_.size() - 1)]; }
  Entry& At(Seq seq) { return ring_[seq & (ring_.size() - 1)]; }
  void Grow();
  bool DoneBefore(Offset offset);
  void AdvanceReady();
  void SealOne(Entry& entry, std::size_t* bytes, std::vector<const Outcome*>* outcomes);
  // Calls `f(OffsetRange)` for each run of records behind the sealed prefix that is done or sealed.
  template <class F>
  void ForEachRun(F f) const;

  std::vector<Entry> ring_;  // Size is a power of two.
  Seq committed_ = 0;
  Seq sealed_ = 0;
  Seq ready_ = 0;
  Seq begun_ = 0;
  std::size_t open_ = 0;
  std::size_t finished_ready_ = 0;
  std::size_t finished_beyond_ = 0;
  std::size_t sealed_count_ = 0;
  std::size_t done_count_ = 0;  // Done, between committed and begun.
  std::vector<Seq> beyond_;     // Sealed by SealBeyond, not settled.
  Seq old_mark_ = 0;            // What is begun before is old.
  Seq next_mark_ = 0;
  Seq last_ready_ = 0;     // At the last Age.
  Seq finished_end_ = 0;   // Behind the last record that was finished.
  Seq last_finished_ = 0;  // The same, at the last Age.
  std::size_t old_open_ = 0;
  bool stuck_ = false;
  bool overtaken_ = false;
  std::vector<OffsetRange> done_;  // From the note: done, and not begun yet.
  std::size_t next_done_ = 0;
  Offset committed_position_;
  Offset sealing_;        // FixPosition's answer.
  Offset read_position_;  // Where the log goes on after the last begun record.
  std::size_t bytes_ = 0;
  bool note_full_ = false;
  bool unit_full_ = false;
  std::unordered_set<std::uint32_t> open_keys_;  // Scratch of SealBeyond.
};

}  // namespace millrace
