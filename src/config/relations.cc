#include "config/relations.h"

#include <array>

namespace millrace {
namespace {

constexpr std::array<SettingOrder, 6> kOrders = {{
    {"delivery.max_unit_records", "delivery.max_in_flight_records",
     "a unit of work is made of records in flight"},
    {"delivery.max_unit_bytes", "delivery.max_in_flight_bytes",
     "a unit of work is made of records in flight"},
    {"batch.max_rows", "delivery.max_in_flight_records",
     "a batch is made of records in flight and could never fill"},
    {"batch.max_rows", "fairness.max_queue_rows",
     "a batch is made of queued rows and could never fill"},
    {"limits.max_request_bytes", "delivery.max_in_flight_bytes",
     "the largest request must fit in what may be in flight"},
    {"retry.initial_backoff", "retry.max_backoff", "the first wait is the shortest"},
}};

}  // namespace

std::span<const SettingOrder> SettingOrders() { return kOrders; }

}  // namespace millrace
