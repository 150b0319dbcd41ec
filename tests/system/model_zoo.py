"""Models as people bring them, made by the libraries they come from, and rows for each.

ZOO maps a name to (a function that writes the ONNX model, a function that makes row `i`). A row is
{input: nested list}, as the `inputs` of a request have it.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import (DoubleTensorType, FloatTensorType, Int64TensorType,
                                        StringTensorType)
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (GradientBoostingRegressor, IsolationForest,
                              RandomForestClassifier)
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

SEED = 7
OPSETS = {"": 17, "ai.onnx.ml": 3}
COLORS = ["red", "green", "blue"]
FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def training_rows(width, classes=2):
    random = np.random.default_rng(SEED)
    x = random.normal(size=(300, width)).astype(np.float32)
    return x, np.digitize(x[:, 0] + x[:, 1] ** 2, np.linspace(0, 2, classes + 1)[1:-1])


def converted(trained, inputs, **options):
    return convert_sklearn(trained, "zoo", inputs, target_opset=OPSETS, **options)


def floats(width):
    return [("features", FloatTensorType([None, width]))]


def graph(nodes, inputs, outputs, constants):
    made = helper.make_graph(nodes, "zoo", inputs, outputs,
                             [numpy_helper.from_array(a, key) for key, a in constants.items()])
    return helper.make_model(made, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


def value(name, element_type, *shape):
    return helper.make_tensor_value_info(name, element_type, list(shape))


def logistic_zipmap():
    return converted(LogisticRegression().fit(*training_rows(4, 3)), floats(4))


def logistic_words():
    """Labels that are words, in the map and as an output."""
    x, y = training_rows(4, 3)
    return converted(LogisticRegression().fit(x, np.array(COLORS)[y]), floats(4))


def random_forest():
    return converted(RandomForestClassifier(20, random_state=SEED).fit(*training_rows(6, 3)),
                     floats(6))


def boosted_regressor():
    x, _ = training_rows(5)
    return converted(GradientBoostingRegressor(random_state=SEED).fit(x, x[:, 0] * x[:, 1]),
                     floats(5))


def scaled_perceptron():
    x, y = training_rows(8)
    trained = make_pipeline(StandardScaler(),
                            MLPClassifier((16,), max_iter=50, random_state=SEED)).fit(x, y)
    return converted(trained, floats(8), options={"zipmap": False})


def one_hot():
    """A pipeline over a column of words and two of numbers, as a data frame has them."""
    x, y = training_rows(2)
    table = np.empty((len(x), 3), object)
    table[:, 0] = np.array(COLORS)[np.arange(len(x)) % 3]
    table[:, 1:] = x
    trained = make_pipeline(
        ColumnTransformer([("color", OneHotEncoder(handle_unknown="ignore"), [0]),
                           ("numbers", StandardScaler(), [1, 2])]),
        LogisticRegression()).fit(table, y)
    return converted(trained, [("color", StringTensorType([None, 1])),
                               ("width", FloatTensorType([None, 1])),
                               ("height", FloatTensorType([None, 1]))])


def known_words():
    """The encoder as it is by default: a word that it does not know is an error."""
    x, y = training_rows(2)
    words = np.array(COLORS)[np.arange(len(x)) % 3].reshape(-1, 1)
    trained = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(words, y)
    return converted(trained, [("color", StringTensorType([None, 1]))])


def embedding():
    """Two inputs of different types: rows of a table by number, beside plain numbers."""
    random = np.random.default_rng(SEED)
    return graph(
        [helper.make_node("Gather", ["table", "id"], ["found"]),
         helper.make_node("Concat", ["found", "numbers"], ["all"], axis=1),
         helper.make_node("MatMul", ["all", "weights"], ["score"])],
        [value("id", INT64, "N"), value("numbers", FLOAT, "N", 3)],
        [value("score", FLOAT, "N", 2)],
        {"table": random.normal(size=(50, 4)).astype(np.float32),
         "weights": random.normal(size=(7, 2)).astype(np.float32)})


def batch_of_one():
    weights = np.random.default_rng(SEED).normal(size=(4, 3)).astype(np.float32)
    return graph([helper.make_node("MatMul", ["x", "weights"], ["y"])],
                 [value("x", FLOAT, 1, 4)], [value("y", FLOAT, 1, 3)], {"weights": weights})


def two_outputs():
    return graph([helper.make_node("ReduceMean", ["x"], ["mean"], axes=[1], keepdims=0),
                  helper.make_node("TopK", ["x", "two"], ["top", "where"], axis=1)],
                 [value("x", FLOAT, "N", 5)],
                 [value("mean", FLOAT, "N"), value("top", FLOAT, "N", 2),
                  value("where", INT64, "N", 2)], {"two": np.array([2], np.int64)})


def linear_float64():
    x, _ = training_rows(3)
    trained = LinearRegression().fit(x.astype(np.float64), x @ [1e-3, 1.0, 1e6])
    return converted(trained, [("features", DoubleTensorType([None, 3]))])


def kmeans():
    return converted(KMeans(3, n_init=1, random_state=SEED).fit(training_rows(4)[0]), floats(4))


def isolation_forest():
    trained = IsolationForest(n_estimators=20, random_state=SEED).fit(training_rows(4)[0])
    return converted(trained, floats(4))


def switches():
    """Bytes, truth values and whole numbers side by side."""
    return graph([helper.make_node("Cast", ["count"], ["number"], to=FLOAT),
                  helper.make_node("Cast", ["level"], ["height"], to=FLOAT),
                  helper.make_node("Add", ["number", "height"], ["sum"]),
                  helper.make_node("Neg", ["sum"], ["minus"]),
                  helper.make_node("Where", ["on", "sum", "minus"], ["y"])],
                 [value("count", TensorProto.INT8, "N", 2), value("on", BOOL, "N", 2),
                  value("level", TensorProto.UINT16, "N", 2)], [value("y", FLOAT, "N", 2)], {})


def picture():
    kernel = np.random.default_rng(SEED).normal(size=(2, 1, 3, 3)).astype(np.float32)
    return graph([helper.make_node("Conv", ["pixels", "kernel"], ["maps"]),
                  helper.make_node("GlobalMaxPool", ["maps"], ["peaks"])],
                 [value("pixels", FLOAT, "N", 1, 6, 6)], [value("peaks", FLOAT, "N", 2, 1, 1)],
                 {"kernel": kernel})


def integers():
    return converted(LogisticRegression().fit(np.round(training_rows(3)[0]), training_rows(3)[1]),
                     [("features", Int64TensorType([None, 3]))])


def sentence():
    """Words by number, as many as there are, and a mask of those that count."""
    table = np.random.default_rng(SEED).normal(size=(30, 5)).astype(np.float32)
    return graph(
        [helper.make_node("Gather", ["table", "input_ids"], ["found"]),
         helper.make_node("Cast", ["attention_mask"], ["weights"], to=FLOAT),
         helper.make_node("Unsqueeze", ["weights", "two"], ["column"]),
         helper.make_node("Mul", ["found", "column"], ["counted"]),
         helper.make_node("ReduceSum", ["counted", "one"], ["sum"], keepdims=0),
         helper.make_node("ReduceSum", ["column", "one"], ["count"], keepdims=0),
         helper.make_node("Div", ["sum", "count"], ["mean"])],
        [value("input_ids", INT64, "batch", "sequence"),
         value("attention_mask", INT64, "batch", "sequence")],
        [value("found", FLOAT, "batch", "sequence", 5), value("mean", FLOAT, "batch", 5)],
        {"table": table, "one": np.array([1], np.int64), "two": np.array([2], np.int64)})


def sentence_row(random):
    length = int(random.integers(1, 9))
    return {"input_ids": random.integers(0, 30, length).tolist(),
            "attention_mask": [1, *random.integers(0, 2, length - 1).tolist()]}


def halves():
    weights = np.random.default_rng(SEED).normal(size=(4, 3)).astype(np.float32)
    return graph([helper.make_node("Cast", ["x"], ["wide"], to=FLOAT),
                  helper.make_node("MatMul", ["wide", "weights"], ["product"]),
                  helper.make_node("Cast", ["product"], ["y"], to=TensorProto.FLOAT16)],
                 [value("x", TensorProto.FLOAT16, "N", 4)],
                 [value("y", TensorProto.FLOAT16, "N", 3)], {"weights": weights})


def any_picture():
    """Pictures of any size."""
    kernel = np.random.default_rng(SEED).normal(size=(2, 1, 3, 3)).astype(np.float32)
    return graph([helper.make_node("Conv", ["pixels", "kernel"], ["maps"], pads=[1, 1, 1, 1]),
                  helper.make_node("GlobalAveragePool", ["maps"], ["mean"])],
                 [value("pixels", FLOAT, "N", 1, "height", "width")],
                 [value("mean", FLOAT, "N", 2, 1, 1)], {"kernel": kernel})


def numbers(width, name="features"):
    return lambda random: {name: random.normal(size=width).round(4).tolist()}


ZOO = {
    "logistic-zipmap": (logistic_zipmap, numbers(4)),
    "logistic-words": (logistic_words, numbers(4)),
    "random-forest": (random_forest, numbers(6)),
    "boosted-regressor": (boosted_regressor, numbers(5)),
    "scaled-perceptron": (scaled_perceptron, numbers(8)),
    "one-hot": (one_hot, lambda random: {
        "color": [[*COLORS, "unknown", "gr\u00fcn \"\n"][random.integers(5)]],
        "width": [round(random.normal(), 4)], "height": [round(random.normal(), 4)]}),
    "known-words": (known_words, lambda random: {"color": [COLORS[random.integers(3)]]}),
    "embedding": (embedding, lambda random: {
        "numbers": random.normal(size=3).round(3).tolist(), "id": int(random.integers(50))}),
    "batch-of-one": (batch_of_one, numbers(4, "x")),
    "two-outputs": (two_outputs, numbers(5, "x")),
    "linear-float64": (linear_float64, lambda random: {
        "features": random.normal(size=3).tolist()}),
    "kmeans": (kmeans, numbers(4)),
    "isolation-forest": (isolation_forest, numbers(4)),
    "switches": (switches, lambda random: {
        "count": random.integers(-128, 128, 2).tolist(), "on": [True, bool(random.integers(2))],
        "level": random.integers(0, 65536, 2).tolist()}),
    "picture": (picture, lambda random: {
        "pixels": random.normal(size=(1, 6, 6)).round(3).tolist()}),
    "halves": (halves, numbers(4, "x")),
    "sentence": (sentence, sentence_row),
    "any-picture": (any_picture, lambda random: {
        "pixels": random.normal(size=(1, *random.integers(1, 4, 2))).round(3).tolist()}),
    "integers": (integers, lambda random: {"features": random.integers(-3, 4, 3).tolist()}),
}


def write_zoo(folder):
    """A model repository with all of ZOO."""
    for name, (make, _) in ZOO.items():
        path = folder / name / "1" / "model.onnx"
        path.parent.mkdir(parents=True)
        onnx.save(make(), path)
    return folder
