// OffsetTracker: which offsets of one partition, in one epoch, have their outcome, and how far the
// partition may be committed.
//
//   committed <= sealed <= ready <= begun        (as counts of records, in offset order)
//
// Begin registers a record; Finish gives it its outcome, in any order; the contiguous prefix of
// finished records is `ready`. Seal takes ready outcomes into a unit of work; Committed makes them
// history, Unseal (the unit did not commit) gives them back, to be sealed again. Offsets grow but
// may have gaps (control records, compaction).
//
// Pure: no thread, no lock, no clock. One caller at a time. Memory: one 24-byte entry per record
// between committed and begun; who begins records bounds them.
#pragma once

#include <cstdint>
#include <vector>

#include "base/strong.h"
#include "pipeline/outcome.h"

namespace millrace {

class OffsetTracker {
 public:
  using Seq = std::uint64_t;

  // Everything below `position` is committed.
  explicit OffsetTracker(Offset position);

  // REQUIRES: `offset` is at or above position() and above every offset begun before.
  Seq Begin(Offset offset, std::uint32_t bytes);

  // REQUIRES: `seq` was begun and not finished; `outcome` stays until committed or dropped.
  void Finish(Seq seq, Outcome* outcome);

  // Nothing was read, but the log goes on at `position`.
  void Advance(Offset position);

  // Appends up to `max_records` ready outcomes, in offset order, and marks them sealed; a unit may
  // be sealed in several steps. Stops before the outcome that would make `*bytes` exceed
  // `max_bytes`, unless it is the first of all. Returns how many.
  std::size_t Seal(std::size_t max_records, std::size_t max_bytes, std::size_t* bytes,
                   std::vector<const Outcome*>* outcomes);

  // The unit is complete: the position to commit with it, whatever the log does meanwhile.
  Offset FixPosition() { return sealing_ = sealed_position(); }

  // The sealed outcomes, and the position that was fixed, are durable: forgets them.
  void CommitSealed();
  // The unit did not commit: the sealed outcomes are ready again.
  void Unseal();

  // Calls `f(Outcome*)` for every finished outcome that is not committed; for dropping a partition.
  template <class F>
  void ForEachFinished(F f) const {
    for (Seq seq = committed_; seq < begun_; ++seq) {
      if (At(seq).outcome != nullptr) f(At(seq).outcome);
    }
  }

  // The position to commit with what is sealed: the next offset that is not covered.
  Offset sealed_position() const;
  // The position that is committed.
  Offset committed_position() const { return committed_position_; }
  // Whether a commit would move the committed position.
  bool dirty() const { return sealed_position() > committed_position_; }

  std::size_t in_flight() const { return static_cast<std::size_t>(begun_ - committed_); }
  std::size_t ready() const { return static_cast<std::size_t>(ready_ - sealed_); }
  std::size_t sealed() const { return static_cast<std::size_t>(sealed_ - committed_); }
  // Input bytes of unfinished records and output bytes of finished ones.
  std::size_t bytes() const { return bytes_; }

 private:
  struct Entry {
    Offset offset;
    Outcome* outcome = nullptr;
    std::uint32_t bytes = 0;
  };
  const Entry& At(Seq seq) const { return ring_[seq & (ring_.size() - 1)]; }
  Entry& At(Seq seq) { return ring_[seq & (ring_.size() - 1)]; }
  void Grow();

  std::vector<Entry> ring_;  // Size is a power of two.
  Seq committed_ = 0;
  Seq sealed_ = 0;
  Seq ready_ = 0;
  Seq begun_ = 0;
  Offset committed_position_;
  Offset sealing_;        // FixPosition's answer.
  Offset read_position_;  // Where the log goes on after the last begun record.
  std::size_t bytes_ = 0;
};

}  // namespace millrace
