#include "codec/result_difference.h"

#include <simdjson.h>

#include <algorithm>
#include <cmath>

namespace millrace {
namespace {

using simdjson::dom::element;
using simdjson::dom::element_type;

bool IsNumber(const element& value) {
  return value.type() == element_type::DOUBLE || value.type() == element_type::INT64 ||
         value.type() == element_type::UINT64;
}

std::size_t Leaves(const element& value) {
  std::size_t leaves = 0;
  if (value.type() == element_type::ARRAY) {
    for (const element& item : simdjson::dom::array(value)) leaves += Leaves(item);
  } else if (value.type() == element_type::OBJECT) {
    for (const auto& member : simdjson::dom::object(value)) leaves += Leaves(member.value);
  } else {
    leaves = 1;
  }
  return leaves;
}

// Results are ours: nothing in them is nested deeper than a tensor's rank.
class Comparison {
 public:
  void Compare(const element& a, const element& b) {
    if (IsNumber(a) && IsNumber(b)) return CompareNumbers(double(a), double(b));
    if (a.type() != b.type()) return Count(std::max(Leaves(a), Leaves(b)), true);
    switch (a.type()) {
      case element_type::ARRAY:
        return CompareArrays(simdjson::dom::array(a), simdjson::dom::array(b));
      case element_type::OBJECT:
        return CompareObjects(simdjson::dom::object(a), simdjson::dom::object(b));
      case element_type::STRING:
        return Count(1, std::string_view(a) != std::string_view(b));
      case element_type::BOOL:
        return Count(1, bool(a) != bool(b));
      default:
        return Count(1, false);  // Two nulls.
    }
  }
  const ResultDifference& difference() const { return difference_; }

 private:
  void Count(std::size_t leaves, bool differ) {
    difference_.compared += leaves;
    if (differ) difference_.differing += leaves;
  }
  void CompareNumbers(double a, double b) {
    Count(1, a != b);
    const double absolute = std::abs(a - b);
    const double larger = std::max(std::abs(a), std::abs(b));
    difference_.max_absolute = std::max(difference_.max_absolute, absolute);
    if (larger > 0) {
      difference_.max_relative = std::max(difference_.max_relative, absolute / larger);
    }
  }
  void CompareArrays(const simdjson::dom::array& a, const simdjson::dom::array& b) {
    auto left = a.begin();
    auto right = b.begin();
    for (; left != a.end() && right != b.end(); ++left, ++right) Compare(*left, *right);
    for (; left != a.end(); ++left) Count(Leaves(*left), true);
    for (; right != b.end(); ++right) Count(Leaves(*right), true);
  }
  void CompareObjects(const simdjson::dom::object& a, const simdjson::dom::object& b) {
    for (const auto& member : a) {
      element other;
      if (b[member.key].get(other) == simdjson::SUCCESS) {
        Compare(member.value, other);
      } else {
        Count(Leaves(member.value), true);
      }
    }
    for (const auto& member : b) {
      element other;
      if (a[member.key].get(other) != simdjson::SUCCESS) Count(Leaves(member.value), true);
    }
  }

  ResultDifference difference_;
};

Status OutputsOf(simdjson::dom::parser& parser, std::string_view value, element* outputs) {
  element root;
  const bool found = parser.parse(value.data(), value.size()).get(root) == simdjson::SUCCESS &&
                     (root["output"].get(*outputs) == simdjson::SUCCESS ||
                      root["outputs"].get(*outputs) == simdjson::SUCCESS);
  if (found) return {};
  return {StatusCode::kInvalidArgument, "a result without output cannot be compared"};
}

}  // namespace

Result<ResultDifference> CompareResults(std::string_view a, std::string_view b) {
  simdjson::dom::parser parser_a;
  simdjson::dom::parser parser_b;
  element outputs_a;
  element outputs_b;
  MILLRACE_RETURN_IF_ERROR(OutputsOf(parser_a, a, &outputs_a));
  MILLRACE_RETURN_IF_ERROR(OutputsOf(parser_b, b, &outputs_b));
  Comparison comparison;
  comparison.Compare(outputs_a, outputs_b);
  return comparison.difference();
}

}  // namespace millrace
