// Classifiers without the operator ZipMap.
//
// scikit-learn's and the boosting libraries' exporters end a classifier with ai.onnx.ml.ZipMap,
// which turns the tensor of probabilities into a sequence of maps, one map for each row: slow to
// make, slower to read. Here it is replaced by an Identity before the model is loaded, so that the
// output of the same name is the tensor again; the labels that it would have used as keys are kept
// beside.
//
// Works on the bytes of the file, in the protobuf wire format, and knows of onnx.proto only the
// fields that it needs; all others are copied as they are. Pure; any bytes are safe to give.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace millrace {

struct PlainModel {
  struct Output {
    std::string name;
    std::vector<std::string> labels;  // Of the elements of a row, in order.
  };
  std::string bytes;
  std::vector<Output> outputs;  // What ZipMap gave before.
};

// Nothing when the model has no ZipMap at its end, or is none that this can read: then it is loaded
// as it is, and the library says what is wrong with it.
std::optional<PlainModel> WithoutZipMap(std::string_view model);

}  // namespace millrace
