#include "types/tensor.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

namespace millrace {
namespace {

constexpr ElementType kTypes[] = {
    ElementType::kFloat32, ElementType::kFloat64, ElementType::kInt32, ElementType::kInt64,
    ElementType::kInt8,    ElementType::kUint8,   ElementType::kInt16, ElementType::kUint16,
    ElementType::kUint32,  ElementType::kUint64,  ElementType::kBool,  ElementType::kFloat16,
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
  EXPECT_EQ(ShapeText({kDynamicDim, kDynamicDim, 2}), "[N,?,2]");
  EXPECT_EQ(ShapeText({1, 3, 0}), "[1,3,0]");
}

TEST(TensorTest, ElementsAreCountedOnlyWhereTheyCanBe) {
  EXPECT_EQ(ElementCount({}), 1u);
  EXPECT_EQ(ElementCount(std::vector<std::int64_t>{3, 4}), 12u);
  EXPECT_EQ(ElementCount(std::vector<std::int64_t>{3, 0, 4}), 0u);
  EXPECT_EQ(ElementCount(std::vector<std::int64_t>{3, kDynamicDim}), std::nullopt);
  constexpr std::int64_t kHuge = std::int64_t{1} << 40;
  EXPECT_EQ(ElementCount(std::vector<std::int64_t>{kHuge, kHuge}), std::nullopt);
}

TEST(TensorTest, AClosedShapeHasNothingOpen) {
  EXPECT_EQ(ClosedShape({kDynamicDim, 3, kDynamicDim}, 8), (std::vector<std::int64_t>{8, 3, 8}));
  EXPECT_EQ(ClosedShape({}, 8), std::vector<std::int64_t>());
}

TEST(TensorTest, ARowHoldsItsInputsOneAfterTheOtherEachAligned) {
  const RowLayout layout = RowLayoutOf({{"a", ElementType::kInt8, {kDynamicDim, 3}},
                                        {"b", ElementType::kFloat64, {kDynamicDim, 2, 2}},
                                        {"c", ElementType::kBool, {kDynamicDim}}});
  ASSERT_EQ(layout.inputs.size(), 3u);
  EXPECT_EQ(layout.inputs[0].offset, 0u);
  EXPECT_EQ(layout.inputs[0].bytes, 3u);
  EXPECT_EQ(layout.inputs[1].offset, 8u);
  EXPECT_EQ(layout.inputs[1].elements, 4u);
  EXPECT_EQ(layout.inputs[1].row_shape, (std::vector<std::int64_t>{2, 2}));
  EXPECT_EQ(layout.inputs[2].offset, 40u);
  EXPECT_EQ(layout.inputs[2].elements, 1u) << "no dimension but the batch: one value";
  EXPECT_EQ(layout.bytes, 41u);
}

TEST(TensorTest, AnInputWhoseShapeIsTheRowsOwnTakesThePlaceOfAReference) {
  const RowLayout layout = RowLayoutOf({{"a", ElementType::kInt64, {kDynamicDim, kDynamicDim, 2}},
                                        {"b", ElementType::kFloat32, {kDynamicDim, 2}}});
  EXPECT_TRUE(layout.dynamic);
  EXPECT_TRUE(layout.inputs[0].dynamic);
  EXPECT_EQ(layout.inputs[0].bytes, sizeof(RowTensor));
  EXPECT_EQ(layout.inputs[0].elements, 0u);
  EXPECT_FALSE(layout.inputs[1].dynamic);
  EXPECT_EQ(layout.inputs[1].offset, sizeof(RowTensor));
}

TEST(TensorTest, OpenDimensionsOfOneNameAreTied) {
  const RowLayout layout = RowLayoutOf(
      {{"words", ElementType::kInt64, {kDynamicDim, kDynamicDim}, {}, {"N", "L"}},
       {"x", ElementType::kFloat32, {kDynamicDim, 4, kDynamicDim}, {}, {"N", "", "K"}},
       {"mask", ElementType::kInt64, {kDynamicDim, kDynamicDim, 7}, {}, {"N", "L", "L"}},
       {"y", ElementType::kInt64, {kDynamicDim, kDynamicDim}, {}, {"N", ""}}});
  ASSERT_EQ(layout.ties.size(), 1u) << "neither the batch, nor what is known, nor what has no name";
  EXPECT_EQ(layout.ties[0].input, 2u);
  EXPECT_EQ(layout.ties[0].dim, 0u);
  EXPECT_EQ(layout.ties[0].as_input, 0u);
  EXPECT_EQ(layout.ties[0].as_dim, 0u);
  EXPECT_EQ(layout.ties[0].name, "L");
}

TEST(TensorTest, AMaskIsTheLengthOfAllThatIsOpen) {
  const std::int64_t open = kDynamicDim;
  const TensorSpec words{"words", ElementType::kInt64, {open, open, 2}};
  const TensorSpec mask{"mask", ElementType::kFloat32, {open, open}};
  const TensorSpec age{"age", ElementType::kFloat32, {open, 3}};
  const TensorSpec mean{"mean", ElementType::kFloat32, {open, 2}};
  const auto use = [](std::vector<TensorSpec> inputs, const TensorSpec& output, RowLayout* layout) {
    const ModelSignature signature{std::move(inputs), {output}, 0};
    *layout = RowLayoutOf(signature.inputs);
    return UseMask(signature, "mask", layout);
  };
  RowLayout layout;
  ASSERT_TRUE(use({words, age, mask}, mean, &layout).ok());
  EXPECT_EQ(layout.mask, 2u);
  ASSERT_EQ(layout.ties.size(), 1u);
  EXPECT_EQ(layout.ties[0].input, 0u);
  EXPECT_EQ(layout.ties[0].as_input, 2u);
  for (const Status& refused :
       {use({words, age}, mean, &layout),
        use({words, {"mask", ElementType::kString, {open, open}}}, mean, &layout),
        use({words, {"mask", ElementType::kFloat32, {open, open, 1}}}, mean, &layout),
        use({mask, {"x", ElementType::kFloat32, {open, 2, open}}}, mean, &layout),
        use({mask, {"x", ElementType::kFloat32, {open, open, open}}}, mean, &layout),
        use({words, mask}, {"y", ElementType::kFloat32, {open, open}}, &layout),
        use({words, mask}, {"y", ElementType::kFloat32, {}}, &layout)}) {
    EXPECT_EQ(refused.code(), StatusCode::kUnsupported);
    EXPECT_FALSE(layout.mask.has_value());
  }
}

TEST(TensorTest, ARowOfOneInputIsThatInput) {
  const RowLayout layout = RowLayoutOf({{"x", ElementType::kFloat32, {kDynamicDim, 30}}});
  EXPECT_EQ(layout.inputs[0].offset, 0u);
  EXPECT_EQ(layout.bytes, 120u);
}

}  // namespace
}  // namespace millrace
