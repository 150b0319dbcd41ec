#include "pipeline/verify/request_table.h"

#include <algorithm>

#include "base/check.h"

namespace millrace {

void RequestTable::Add(Offset offset, const RequestFacts& facts) {
  MILLRACE_CHECK(size_ == 0 || offset >= next_);
  if (size_ == 0 || offset != next_) runs_.push_back({offset, size_});
  if (size_ % kChunkRequests == 0) chunks_.push_back(std::make_unique<Chunk>());
  Chunk& chunk = *chunks_.back();
  const std::size_t at = size_ % kChunkRequests;
  chunk.key[at] = facts.key;
  chunk.id[at] = facts.id;
  chunk.route[at] = facts.route;
  chunk.body[at] = facts.body;
  chunk.seen[at] = 0;
  ++size_;
  next_ = Next(offset);
}

std::size_t RequestTable::Find(Offset offset) const {
  const auto after =
      std::upper_bound(runs_.begin(), runs_.end(), offset,
                       [](Offset wanted, const Run& run) { return wanted < run.first; });
  if (after == runs_.begin()) return kNone;
  const Run& run = *(after - 1);
  const std::size_t index = run.index + Offset(offset.value() - run.first.value()).index();
  const std::size_t end = after == runs_.end() ? size_ : after->index;
  return index < end ? index : kNone;
}

RequestFacts RequestTable::Facts(std::size_t index) const {
  const Chunk& chunk = *chunks_[index / kChunkRequests];
  const std::size_t at = index % kChunkRequests;
  return {chunk.key[at], chunk.id[at], chunk.route[at], chunk.body[at]};
}

std::uint8_t& RequestTable::Seen(std::size_t index) {
  return chunks_[index / kChunkRequests]->seen[index % kChunkRequests];
}

}  // namespace millrace
