// Strong<Tag, Rep>: an integer that does not mix with other integers.
//
// Offsets, epochs and slots are all small integers that travel together; giving each its own type
// makes passing one for another a compile error. A Strong is as cheap as its Rep.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>

namespace millrace {

template <class Tag, class Rep>
class Strong {
 public:
  using rep = Rep;
  constexpr Strong() = default;
  explicit constexpr Strong(Rep value) : value_(value) {}
  constexpr Rep value() const { return value_; }
  // For use as an index into a vector. REQUIRES: value() >= 0.
  constexpr std::size_t index() const { return static_cast<std::size_t>(value_); }
  friend constexpr auto operator<=>(const Strong&, const Strong&) = default;

 private:
  Rep value_ = 0;
};

// Position of a record in its partition. Offsets of a partition only grow; they may have gaps.
using Offset = Strong<struct OffsetTag, std::int64_t>;
// Counts the assignments of one partition to this process; work of an older epoch is dropped.
using Epoch = Strong<struct EpochTag, std::uint32_t>;
// Dense index of a partition of the input topic inside one Source, stable for its lifetime.
using PartitionSlot = Strong<struct PartitionSlotTag, std::int32_t>;
// Dense index of a loaded model version inside one worker; used again when the version has gone.
using ModelSlot = Strong<struct ModelSlotTag, std::int32_t>;
// Dense index of the metric series of a model version; never used for another.
using SeriesSlot = Strong<struct SeriesSlotTag, std::int32_t>;
// Dense index of a tenant inside one worker.
using TenantSlot = Strong<struct TenantSlotTag, std::int32_t>;

constexpr Offset Next(Offset offset) { return Offset(offset.value() + 1); }

}  // namespace millrace

template <class Tag, class Rep>
struct std::hash<millrace::Strong<Tag, Rep>> {
  std::size_t operator()(const millrace::Strong<Tag, Rep>& v) const noexcept {
    return std::hash<Rep>{}(v.value());
  }
};
