#include "runtime/ort_signature.h"

#include <gtest/gtest.h>

namespace millrace {
namespace {

OrtValueInfo Tensor(std::string name, ElementType type, std::vector<std::int64_t> shape) {
  OrtValueInfo value;
  value.name = std::move(name);
  value.type_text = "tensor(float)";
  value.element = type;
  value.shape_text = ShapeText(shape);
  value.shape = std::move(shape);
  return value;
}

// A model from [N,3] to [N,2], to be spoilt.
OrtSignatureInfo Good() {
  return {{Tensor("x", ElementType::kFloat32, {kDynamicDim, 3})},
          {Tensor("y", ElementType::kFloat32, {kDynamicDim, 2})}};
}

void ExpectRefused(const OrtSignatureInfo& info, const std::string& part) {
  const Status status = CheckSignature(info).status();
  EXPECT_EQ(status.code(), StatusCode::kUnsupported) << status.ToString();
  EXPECT_NE(status.message().find(part), std::string::npos) << status.message();
}

TEST(CheckSignature, TakesOneTensorWithABatchDimension) {
  const Result<ModelSignature> signature = CheckSignature(Good());
  ASSERT_TRUE(signature.ok()) << signature.status().ToString();
  EXPECT_EQ(signature->fixed_batch, 0);
  const InputLayout layout = RowLayoutOf(signature->inputs).inputs[0];
  EXPECT_EQ(layout.elements, 3U);
  EXPECT_EQ(layout.bytes, 12U);
}

TEST(CheckSignature, ARowOfOneNumberHasNoDimensions) {
  OrtSignatureInfo info = Good();
  info.inputs[0].shape = {kDynamicDim};
  const Result<ModelSignature> signature = CheckSignature(info);
  ASSERT_TRUE(signature.ok());
  EXPECT_TRUE(RowLayoutOf(signature->inputs).inputs[0].row_shape.empty());
  EXPECT_EQ(RowLayoutOf(signature->inputs).inputs[0].elements, 1U);
}

TEST(CheckSignature, AFixedFirstDimensionIsTheFixedBatch) {
  OrtSignatureInfo info = Good();
  info.inputs[0].shape[0] = 4;
  info.outputs[0].shape[0] = 4;
  const Result<ModelSignature> signature = CheckSignature(info);
  ASSERT_TRUE(signature.ok());
  EXPECT_EQ(signature->fixed_batch, 4);
  info.outputs[0].shape[0] = 5;
  ExpectRefused(info, "output 'y' is tensor(float) of shape");
}

TEST(CheckSignature, RefusesInputsThatAreNotOneRowPerBatchEntry) {
  for (const std::vector<std::int64_t>& shape : {std::vector<std::int64_t>{},
                                                 {0, 3},
                                                 std::vector<std::int64_t>(18, 1),
                                                 {kDynamicDim, 0},
                                                 {kDynamicDim, 1 << 20, 1 << 20}}) {
    OrtSignatureInfo info = Good();
    info.inputs[0].shape = shape;
    ExpectRefused(info, "input 'x' is tensor(float) of shape");
  }
}

TEST(CheckSignature, RefusesNoInputTooManyAndNoOutput) {
  OrtSignatureInfo info = Good();
  info.inputs.clear();
  ExpectRefused(info, "no inputs");
  info = Good();
  info.inputs.resize(RowLayout::kMaxInputs + 1, info.inputs[0]);
  ExpectRefused(info, "it has 65 inputs, at most 64");
  info = Good();
  info.outputs.clear();
  ExpectRefused(info, "no outputs");
}

TEST(CheckSignature, TakesSeveralInputsOfAnyNumberType) {
  OrtSignatureInfo info = Good();
  for (const ElementType type : {ElementType::kInt8, ElementType::kBool, ElementType::kUint64}) {
    info.inputs.push_back(info.inputs[0]);
    info.inputs.back().element = type;
  }
  const Result<ModelSignature> signature = CheckSignature(info);
  ASSERT_TRUE(signature.ok()) << signature.status().ToString();
  ASSERT_EQ(signature->inputs.size(), 4u);
  EXPECT_EQ(signature->inputs[2].type, ElementType::kBool);
}

TEST(CheckSignature, AllInputsHaveTheSameBatch) {
  OrtSignatureInfo info = Good();
  info.inputs.push_back(info.inputs[0]);
  info.inputs[1].name = "other";
  info.inputs[1].shape[0] = 2;
  ExpectRefused(info, "input 'other'");
  ExpectRefused(info, "not the same as that of input 'x'");
}

TEST(CheckSignature, RefusesWhatIsNoTensorOfNumbers) {
  OrtSignatureInfo info = Good();
  info.inputs[0].element = std::nullopt;
  ExpectRefused(info, "later version");
  info = Good();
  info.inputs[0].kind = OrtValueKind::kOther;
  ExpectRefused(info, "other than tensors");
}

TEST(CheckSignature, RefusesOutputsWhoseFirstDimensionIsNotTheBatch) {
  OrtSignatureInfo info = Good();
  info.outputs[0].shape = {1, 2};
  ExpectRefused(info, "its first dimension is not the batch");
}

TEST(CheckSignature, OutputShapesThatOnlyARunTellsAreFine) {
  OrtSignatureInfo info = Good();
  for (const std::vector<std::int64_t>& shape :
       {std::vector<std::int64_t>{}, {kDynamicDim, kDynamicDim}}) {
    info.outputs[0].shape = shape;
    const Result<ModelSignature> signature = CheckSignature(info);
    ASSERT_TRUE(signature.ok()) << signature.status().ToString();
    EXPECT_FALSE(StaticRowElements(signature->outputs[0]).has_value());
  }
}

TEST(CheckSignature, MapsAreRefusedWithTheWayOut) {
  OrtSignatureInfo info = Good();
  info.outputs[0].kind = OrtValueKind::kSequenceOrMap;
  ExpectRefused(info, "zipmap=False");
}

}  // namespace
}  // namespace millrace
