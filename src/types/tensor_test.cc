#include "types/tensor.h"

#include <gtest/gtest.h>

#include <set>

namespace millrace {
namespace {

constexpr ElementType kTypes[] = {
    ElementType::kFloat32, ElementType::kFloat64, ElementType::kInt32, ElementType::kInt64,
    ElementType::kInt8,    ElementType::kUint8,   ElementType::kInt16, ElementType::kUint16,
    ElementType::kUint32,  ElementType::kUint64,  ElementType::kBool,
};

TEST(TensorTest, NamesSayTheSize) {
  std::set<std::string_view> names;
  for (const ElementType type : kTypes) {
    const std::string_view name = ElementTypeName(type);
    EXPECT_TRUE(names.insert(name).second) << name;
    const std::size_t digits = name.find_first_of("0123456789");
    const std::size_t bits =
        digits == std::string_view::npos ? 8 : std::stoul(std::string(name.substr(digits)));
    EXPECT_EQ(ElementBytes(type) * 8, bits) << name;
  }
}

TEST(TensorTest, ShapeTextShowsWhatIsDynamic) {
  EXPECT_EQ(ShapeText({}), "[]");
  EXPECT_EQ(ShapeText({kDynamicDim}), "[N]");
  EXPECT_EQ(ShapeText({kDynamicDim, 30}), "[N,30]");
  EXPECT_EQ(ShapeText({1, 3, 0}), "[1,3,0]");
}

}  // namespace
}  // namespace millrace
