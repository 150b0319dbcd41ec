// RequestTable: what the audit remembers of every request of one partition.
//
// 21 bytes a request, in chunks of kChunkRequests, plus 16 bytes wherever offsets jump (retention,
// compaction, control records). Nothing else grows with the number of requests. Hashes are compared
// with hashes of what should be the same bytes: equal bytes never look different, different bytes
// look equal once in 2^32. Not thread-safe.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/strong.h"

namespace millrace {

struct RequestFacts {
  std::uint64_t key = 0;    // Hash of the record key; 0: it has none.
  std::uint32_t id = 0;     // Hash of request_id; 0: could not be read.
  std::uint32_t route = 0;  // Hash of tenant_id and model_id; 0: could not be read.
  std::uint32_t body = 0;   // Hash of the value.
};

class RequestTable {
 public:
  static constexpr std::size_t kChunkRequests = 4096;
  static constexpr std::size_t kBytesPerRequest = 21;

  // REQUIRES: `offset` is greater than that of every earlier call.
  void Add(Offset offset, const RequestFacts& facts);

  // Index of the request at `offset`, or kNone when no record was there.
  static constexpr std::size_t kNone = ~std::size_t{0};
  std::size_t Find(Offset offset) const;

  std::size_t size() const { return size_; }
  RequestFacts Facts(std::size_t index) const;

  // Marks of the outcomes seen, a few bits whose meaning is the caller's.
  std::uint8_t& Seen(std::size_t index);

  // Calls `visit(offset, seen)` for every request in offset order.
  template <class Visit>
  void ForEach(Visit visit) const {
    for (std::size_t run = 0; run < runs_.size(); ++run) {
      const std::size_t end = run + 1 < runs_.size() ? runs_[run + 1].index : size_;
      for (std::size_t index = runs_[run].index; index < end; ++index) {
        visit(
            Offset(runs_[run].first.value() + static_cast<std::int64_t>(index - runs_[run].index)),
            chunks_[index / kChunkRequests]->seen[index % kChunkRequests]);
      }
    }
  }

 private:
  struct Chunk {
    std::array<std::uint64_t, kChunkRequests> key;
    std::array<std::uint32_t, kChunkRequests> id;
    std::array<std::uint32_t, kChunkRequests> route;
    std::array<std::uint32_t, kChunkRequests> body;
    std::array<std::uint8_t, kChunkRequests> seen;
  };
  static_assert(sizeof(Chunk) == kBytesPerRequest * kChunkRequests);

  // Offsets without a gap: `first` has index `index`.
  struct Run {
    Offset first;
    std::size_t index = 0;
  };

  std::vector<Run> runs_;
  std::vector<std::unique_ptr<Chunk>> chunks_;
  std::size_t size_ = 0;
  Offset next_;  // One past the last offset added.
};

}  // namespace millrace
