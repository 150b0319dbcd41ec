#!/usr/bin/env python3
"""Writes the small ONNX models that unit and system tests run.

Each has an answer that a test can work out in its head. The outputs are committed beside this
file; run it only to change them (packages: examples/demo/requirements.txt):

    python make_test_models.py DIR
"""

import argparse
import pathlib

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.linear_model import LogisticRegression

OPSET, ML_OPSET, IR_VERSION = 17, 3, 8
FLOAT, DOUBLE = TensorProto.FLOAT, TensorProto.DOUBLE
INT32, INT64, STRING = TensorProto.INT32, TensorProto.INT64, TensorProto.STRING


def value(name, element_type, *shape):
    return helper.make_tensor_value_info(name, element_type, list(shape))


def model(name, nodes, inputs, outputs, constants=(), ml=False):
    """constants: {name: array}. ml adds the ai.onnx.ml operators."""
    graph = helper.make_graph(nodes, name, inputs, outputs,
                              [numpy_helper.from_array(array, key)
                               for key, array in dict(constants).items()])
    opsets = [helper.make_opsetid("", OPSET)]
    if ml:
        opsets.append(helper.make_opsetid("ai.onnx.ml", ML_OPSET))
    return helper.make_model(graph, producer_name="millrace-tests", ir_version=IR_VERSION,
                             opset_imports=opsets)


def linear(bias):
    """y = 1 x0 + 2 x1 + 3 x2 + 4 x3 + bias: exact for small integers."""
    return model("linear", [helper.make_node("Gemm", ["x", "w", "b"], ["y"])],
                 [value("x", FLOAT, "N", 4)], [value("y", FLOAT, "N", 1)],
                 {"w": np.array([[1], [2], [3], [4]], np.float32),
                  "b": np.array([bias], np.float32)})


def two_outputs():
    return model("two_outputs",
                 [helper.make_node("ReduceSum", ["x", "axes"], ["sum"], keepdims=1),
                  helper.make_node("ArgMax", ["x"], ["argmax"], axis=1, keepdims=0)],
                 [value("x", FLOAT, "N", 3)],
                 [value("sum", FLOAT, "N", 1), value("argmax", INT64, "N")],
                 {"axes": np.array([1], np.int64)})


def gather():
    """Row i of a table [i, 10 i], 0 <= i < 10. One index of 10 or more, or below -10, fails the
    whole Run: the poisoned row that bisection has to find."""
    table = np.array([[i, 10 * i] for i in range(10)], np.float32)
    return model("gather",
                 [helper.make_node("Squeeze", ["index", "axes"], ["flat"]),
                  helper.make_node("Gather", ["table", "flat"], ["row"], axis=0)],
                 [value("index", INT64, "N", 1)], [value("row", FLOAT, "N", 2)],
                 {"axes": np.array([1], np.int64), "table": table})


def elementwise(name, op, element_type, batch, operand):
    return model(name, [helper.make_node(op, ["x", "operand"], ["y"])],
                 [value("x", element_type, batch, 2)], [value("y", element_type, batch, 2)],
                 {"operand": operand})


def nonfinite():
    """log(x): -inf for 0, nan below."""
    return model("nonfinite", [helper.make_node("Log", ["x"], ["y"])],
                 [value("x", FLOAT, "N", 2)], [value("y", FLOAT, "N", 2)])


def first_of(axis, batch):
    """The first k entries of x along `axis`, k being the largest number in x: a shape that only
    the run tells. Along axis 0 the answer has lost the batch."""
    return model("first_of",
                 [helper.make_node("ReduceMax", ["x"], ["max"], keepdims=0),
                  helper.make_node("Cast", ["max"], ["whole"], to=INT64),
                  helper.make_node("Unsqueeze", ["whole", "zero"], ["end"]),
                  helper.make_node("Slice", ["x", "zero", "end", "axis"], ["y"])],
                 [value("x", FLOAT, batch, 3)],
                 [value("y", FLOAT, *([batch, "K"] if axis == 1 else ["K", 3]))],
                 {"zero": np.array([0], np.int64), "axis": np.array([axis], np.int64)})


def image():
    """Output k is the sum of the pixels whose flat index ends in the digit k."""
    w = np.zeros((64, 10), np.float32)
    w[np.arange(64), np.arange(64) % 10] = 1
    return model("image",
                 [helper.make_node("Flatten", ["pixels"], ["flat"], axis=1),
                  helper.make_node("MatMul", ["flat", "w"], ["sums"])],
                 [value("pixels", FLOAT, "N", 1, 8, 8)], [value("sums", FLOAT, "N", 10)],
                 {"w": w})


def string_input():
    return model("string_input",
                 [helper.make_node("LabelEncoder", ["word"], ["code"], domain="ai.onnx.ml",
                                   keys_strings=["red", "green"], values_floats=[1.0, 2.0],
                                   default_float=0.0)],
                 [value("word", STRING, "N", 1)], [value("code", FLOAT, "N", 1)], ml=True)


def string_output(batch):
    return model("string_output",
                 [helper.make_node("LabelEncoder", ["code"], ["word"], domain="ai.onnx.ml",
                                   keys_int64s=[1, 2], values_strings=["one", "two"],
                                   default_string="?")],
                 [value("code", INT64, batch, 2)], [value("word", STRING, batch, 2)], ml=True)


def masked_words(heeded):
    """The mean of the table's rows that the words stand for whose mask is 1; of all of them with a
    mask that is not heeded."""
    table = np.array([[i, 10 * i] for i in range(10)], np.float32)
    weight = "mask" if heeded else "ones"
    return model("masked_words",
                 [helper.make_node("Gather", ["table", "words"], ["found"], axis=0),
                  helper.make_node("Mul", ["mask", "zero"], ["zeros"]),
                  helper.make_node("Add", ["zeros", "one"], ["ones"]),
                  helper.make_node("Unsqueeze", [weight, "last"], ["column"]),
                  helper.make_node("Mul", ["found", "column"], ["kept"]),
                  helper.make_node("ReduceSum", ["kept", "middle"], ["sum"], keepdims=0),
                  helper.make_node("ReduceSum", [weight, "middle"], ["count"], keepdims=1),
                  helper.make_node("Div", ["sum", "count"], ["mean"])],
                 [value("words", INT64, "N", "L"), value("mask", FLOAT, "N", "L")],
                 [value("mean", FLOAT, "N", 2)],
                 {"table": table, "zero": np.array(0, np.float32), "one": np.array(1, np.float32),
                  "last": np.array([2], np.int64), "middle": np.array([1], np.int64)})


def sequence():
    """An output that is no tensor."""
    made = model("sequence", [helper.make_node("SplitToSequence", ["x"], ["parts"], axis=1)],
                 [value("x", FLOAT, "N", 2)], [])
    made.graph.output.append(
        helper.make_tensor_sequence_value_info("parts", FLOAT, ["N", 1]))
    return made


def words(batch):
    """The mean of the table's rows [i, 10 i] that the words are, however many they are."""
    table = np.array([[i, 10 * i] for i in range(10)], np.float32)
    return model("words",
                 [helper.make_node("Gather", ["table", "words"], ["found"], axis=0),
                  helper.make_node("ReduceMean", ["found"], ["mean"], axes=[1], keepdims=0)],
                 [value("words", INT64, batch, "L")], [value("mean", FLOAT, batch, 2)],
                 {"table": table})


def outer():
    """The square of the sum of x, by way of every product of two of its numbers: what a run needs
    grows with the square of the row."""
    return model("outer",
                 [helper.make_node("Unsqueeze", ["x", "last"], ["column"]),
                  helper.make_node("Unsqueeze", ["x", "middle"], ["row"]),
                  helper.make_node("Mul", ["column", "row"], ["products"]),
                  helper.make_node("ReduceSum", ["products", "last"], ["sums"], keepdims=0),
                  helper.make_node("ReduceSum", ["sums", "middle"], ["y"], keepdims=1)],
                 [value("x", FLOAT, "N", "L")], [value("y", FLOAT, "N", 1)],
                 {"last": np.array([2], np.int64), "middle": np.array([1], np.int64)})


def two_inputs():
    return model("two_inputs", [helper.make_node("Add", ["a", "b"], ["y"])],
                 [value("a", FLOAT, "N", 2), value("b", FLOAT, "N", 2)],
                 [value("y", FLOAT, "N", 2)])


def mixed_inputs():
    """y = x + id, and its opposite where flag is false."""
    return model("mixed_inputs",
                 [helper.make_node("Cast", ["id"], ["number"], to=FLOAT),
                  helper.make_node("Add", ["x", "number"], ["sum"]),
                  helper.make_node("Neg", ["sum"], ["minus"]),
                  helper.make_node("Unsqueeze", ["flag", "one"], ["column"]),
                  helper.make_node("Where", ["column", "sum", "minus"], ["y"])],
                 [value("x", FLOAT, "N", 3), value("id", INT64, "N", 1),
                  value("flag", TensorProto.BOOL, "N")],
                 [value("y", FLOAT, "N", 3)], {"one": np.array([1], np.int64)})


def zipmap():
    """What scikit-learn exports unless told otherwise: probabilities as a sequence of maps."""
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    trained = LogisticRegression().fit(x, [0, 0, 1, 1])
    converted = convert_sklearn(trained, "zipmap", [("x", FloatTensorType([None, 2]))],
                                target_opset={"": OPSET, "ai.onnx.ml": ML_OPSET})
    # The converter lists the opsets in the order of a set, which differs from run to run.
    return helper.make_model(converted.graph, producer_name="millrace-tests",
                             ir_version=IR_VERSION,
                             opset_imports=[helper.make_opsetid("", OPSET),
                                            helper.make_opsetid("ai.onnx.ml", ML_OPSET)])


def models():
    """{folder: model} of everything that ONNX Runtime can load."""
    return {
        "linear/1": linear(0),
        "linear/2": linear(1000),
        "two_outputs/1": two_outputs(),
        "gather/1": gather(),
        "double/1": elementwise("double", "Mul", DOUBLE, "N", np.array([2], np.float64)),
        "int32/1": elementwise("int32", "Add", INT32, "N", np.array([1], np.int32)),
        "fixed_batch/1": elementwise("fixed_batch", "Mul", FLOAT, 4, np.array([2], np.float32)),
        "batch1/1": elementwise("batch1", "Mul", FLOAT, 1, np.array([2], np.float32)),
        "nonfinite/1": nonfinite(),
        "image/1": image(),
        "run_shape/1": first_of(1, "N"),
        "run_shape_fixed/1": first_of(1, 2),
        "lost_batch/1": first_of(0, "N"),
        "string_input/1": string_input(),
        "string_output/1": string_output("N"),
        "string_output_fixed/1": string_output(2),
        "sequence/1": sequence(),
        "words/1": words("N"),
        "words_fixed/1": words(2),
        "masked_words/1": masked_words(True),
        "unmasked_words/1": masked_words(False),
        "outer/1": outer(),
        "two_inputs/1": two_inputs(),
        "mixed_inputs/1": mixed_inputs(),
        "zipmap/1": zipmap(),
    }


def session(path):
    options = ort.SessionOptions()
    options.log_severity_level = 4  # The failures below are expected.
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def expect(out, folder, inputs, outputs):
    """Runs one model and requires exactly these outputs: names, types, shapes and values."""
    s = session(out / folder / "model.onnx")
    names = [output.name for output in s.get_outputs()]
    assert names == list(outputs), (folder, names)
    for name, got in zip(names, s.run(None, inputs)):
        want = outputs[name]
        assert got.dtype == want.dtype and got.shape == want.shape, (folder, name, got)
        assert np.array_equal(got, want, equal_nan=want.dtype.kind == "f"), (folder, name, got)


def expect_failure(what, call):
    try:
        call()
    except Exception as error:  # ONNX Runtime's own classes have no common base.
        print(f"{what}: {str(error).splitlines()[0][:120]}")
        return
    raise AssertionError(f"{what} should have failed")


def check(out):
    f32, f64 = np.float32, np.float64
    x = np.array([[1, 1, 1, 1], [1, 0, 0, -1], [5, 6, 7, 8]], f32)
    expect(out, "linear/1", {"x": x}, {"y": np.array([[10], [-3], [70]], f32)})
    expect(out, "linear/2", {"x": x}, {"y": np.array([[1010], [997], [1070]], f32)})
    expect(out, "two_outputs/1", {"x": np.array([[1, 2, 3], [9, 5, 5]], f32)},
           {"sum": np.array([[6], [19]], f32), "argmax": np.array([2, 0], np.int64)})
    for rows in ([0, 9, 3], [7]):
        expect(out, "gather/1", {"index": np.array(rows, np.int64)[:, None]},
               {"row": np.array([[i, 10 * i] for i in rows], f32)})
    pairs = [[1.5, -2], [0, 3]]
    expect(out, "double/1", {"x": np.array(pairs, f64)}, {"y": np.array(pairs, f64) * 2})
    whole = np.array([[1, -2], [0, 2**31 - 2]], np.int32)
    expect(out, "int32/1", {"x": whole}, {"y": whole + np.int32(1)})
    four = np.arange(8, dtype=f32).reshape(4, 2)
    expect(out, "fixed_batch/1", {"x": four}, {"y": four * 2})
    expect(out, "batch1/1", {"x": four[:1]}, {"y": four[:1] * 2})
    expect(out, "nonfinite/1", {"x": np.array([[1, 0], [-1, 1]], f32)},
           {"y": np.array([[0, -np.inf], [np.nan, 0]], f32)})
    pixels = np.arange(128, dtype=f32).reshape(2, 1, 8, 8)
    expect(out, "image/1", {"pixels": pixels},
           {"sums": np.array([[row[k::10].sum() for k in range(10)]
                              for row in pixels.reshape(2, 64)], f32)})
    threes = np.array([[1, 2, 0], [0, 1, 2]], f32)
    for folder in ("run_shape/1", "run_shape_fixed/1"):
        expect(out, folder, {"x": threes}, {"y": threes[:, :2]})
    expect(out, "lost_batch/1", {"x": threes - 1}, {"y": threes[:1] - 1})
    expect(out, "string_input/1", {"word": np.array([["green"], ["red"], ["?"]], object)},
           {"code": np.array([[2], [1], [0]], f32)})
    for folder in ("string_output/1", "string_output_fixed/1"):
        expect(out, folder, {"code": np.array([[1, 2], [0, 1]], np.int64)},
               {"word": np.array([["one", "two"], ["?", "one"]], object)})
    for folder in ("words/1", "words_fixed/1"):
        expect(out, folder, {"words": np.array([[1, 2, 6], [0, 0, 3]], np.int64)},
               {"mean": np.array([[3, 30], [1, 10]], f32)})
    padded = {"words": np.array([[1, 2, 6], [5, 7, 0]], np.int64),
              "mask": np.array([[1, 1, 1], [1, 1, 0]], f32)}
    expect(out, "masked_words/1", padded, {"mean": np.array([[3, 30], [6, 60]], f32)})
    expect(out, "unmasked_words/1", padded, {"mean": np.array([[3, 30], [4, 40]], f32)})
    expect(out, "outer/1", {"x": threes}, {"y": np.array([[9], [9]], f32)})
    expect(out, "two_inputs/1", {"a": four, "b": four}, {"y": four * 2})
    expect(out, "mixed_inputs/1",
           {"x": threes, "id": np.array([[10], [20]], np.int64), "flag": np.array([True, False])},
           {"y": np.array([[11, 12, 10], [-20, -21, -22]], f32)})
    s = session(out / "zipmap/1/model.onnx")
    assert [o.type for o in s.get_outputs()] == ["tensor(int64)", "seq(map(int64,tensor(float)))"]

    g = session(out / "gather/1/model.onnx")
    for bad in (10, -11):
        expect_failure(f"gather of {bad}",
                       lambda: g.run(None, {"index": np.array([[0], [bad]], np.int64)}))
    f = session(out / "fixed_batch/1/model.onnx")
    expect_failure("fixed_batch of 3", lambda: f.run(None, {"x": four[:3]}))
    expect_failure("truncated", lambda: session(out / "truncated/1/model.onnx"))


def main():
    parser = argparse.ArgumentParser(description="Writes the small ONNX models that tests run.")
    parser.add_argument("out", type=pathlib.Path, metavar="DIR")
    out = parser.parse_args().out
    files = {}
    for folder, made in models().items():
        onnx.checker.check_model(made, full_check=True)
        files[folder] = made.SerializeToString(deterministic=True)
    whole = files["linear/1"]
    files["truncated/1"] = whole[:len(whole) // 2]
    for folder, data in files.items():
        path = out / folder / "model.onnx"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        assert len(data) < 5120, folder
    check(out)
    print(f"{len(files)} models, {sum(map(len, files.values()))} bytes")


if __name__ == "__main__":
    main()
