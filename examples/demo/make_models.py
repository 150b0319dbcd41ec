#!/usr/bin/env python3
"""Makes the models and the data of `millrace demo`.

Two datasets that come with scikit-learn are split once, with a fixed seed. The models learn from
one part; the other part, which they never see, becomes the CSV files that the demo sends. Before a
model is written, ONNX Runtime has to agree with scikit-learn on every held-out row.

    pip install -r requirements.txt
    python make_models.py                # rewrites models/ and data/ beside this file
    python make_models.py --out DIR      # elsewhere, to compare
"""

import argparse
import csv
import pathlib
import warnings

import numpy as np
import onnx
import onnxruntime as ort
import sklearn
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

SEED = 20240601
HELD_OUT = 0.3
# Old enough for any ONNX Runtime since 1.12.
OPSET, ML_OPSET, IR_VERSION = 17, 3, 8
# float32 against the float64 that scikit-learn computes in.
TOLERANCE = 1e-5


def split(dataset):
    """Returns train x, held-out x, train y, held-out y; x holds float32 values."""
    x = dataset.data.astype(np.float32)
    return train_test_split(x, dataset.target, test_size=HELD_OUT, stratify=dataset.target,
                            random_state=SEED)


def mlp_graph(name, layers):
    """An ONNX model: Gemm and Relu per layer, Softmax after the last. layers: [(weights, bias)]."""
    nodes, constants, value = [], [], "features"
    for i, (weights, bias) in enumerate(layers):
        constants.append(numpy_helper.from_array(weights.astype(np.float32), f"w{i}"))
        constants.append(numpy_helper.from_array(bias.astype(np.float32), f"b{i}"))
        nodes.append(helper.make_node("Gemm", [value, f"w{i}", f"b{i}"], [f"z{i}"], f"gemm{i}"))
        value = f"z{i}"
        if i + 1 < len(layers):
            nodes.append(helper.make_node("Relu", [value], [f"a{i}"], f"relu{i}"))
            value = f"a{i}"
    nodes.append(helper.make_node("Softmax", [value], ["probabilities"], "softmax", axis=-1))
    width, classes = layers[0][0].shape[0], layers[-1][0].shape[1]
    graph = helper.make_graph(
        nodes, name,
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", width])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", classes])],
        constants)
    return helper.make_model(graph, producer_name="millrace-demo", ir_version=IR_VERSION,
                             opset_imports=[helper.make_opsetid("", OPSET)])


def fit_mlp(x, y, hidden, alpha):
    with warnings.catch_warnings():
        # The number of passes is fixed on purpose; it is enough for the accuracy in README.md.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return MLPClassifier(hidden, alpha=alpha, max_iter=200, random_state=SEED).fit(x, y)


def cancer_mlp(x, y):
    scaler = StandardScaler().fit(x)
    net = fit_mlp(scaler.transform(x), y, (64, 32), alpha=1.0)
    layers = list(zip(net.coefs_, net.intercepts_))
    # ((x - mean) / scale) @ w + b, with the scaler moved into w and b.
    w, b = layers[0]
    layers[0] = (w / scaler.scale_[:, None], b - (scaler.mean_ / scaler.scale_) @ w)
    # Two classes are one logistic unit in scikit-learn: softmax([-z/2, z/2]) = [1 - s(z), s(z)].
    w, b = layers[-1]
    layers[-1] = (np.hstack([-w / 2, w / 2]), np.hstack([-b / 2, b / 2]))
    return mlp_graph("cancer-mlp", layers), lambda rows: net.predict_proba(scaler.transform(rows))


def cancer_gbt(x, y):
    trees = GradientBoostingClassifier(n_estimators=100, max_depth=3, random_state=SEED).fit(x, y)
    model = convert_sklearn(
        trees, "cancer-gbt", [("features", FloatTensorType([None, x.shape[1]]))],
        target_opset={"": OPSET, "ai.onnx.ml": ML_OPSET},
        options={"zipmap": False})
    model.ir_version = IR_VERSION
    # The converter lists the opsets in the order of a set, which differs from run to run.
    del model.opset_import[:]
    model.opset_import.extend([helper.make_opsetid("", OPSET),
                               helper.make_opsetid("ai.onnx.ml", ML_OPSET)])
    for value in [*model.graph.input, *model.graph.output]:
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    return model, trees.predict_proba


def digits_mlp(x, y):
    net = fit_mlp(x / 16, y, (64,), alpha=0.1)
    layers = list(zip(net.coefs_, net.intercepts_))
    # Pixels are 0..16; a division by a power of two moves into the weights without rounding.
    layers[0] = (layers[0][0] / 16, layers[0][1])
    return mlp_graph("digits-mlp", layers), lambda rows: net.predict_proba(rows / 16)


def held_out_accuracy(name, model, expected, x, y):
    """Runs the model in ONNX Runtime as the worker would; raises where it differs from expected."""
    onnx.checker.check_model(model, full_check=True)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    outputs = dict(zip(names, session.run(None, {"features": x})))
    probabilities = outputs["probabilities"]
    assert probabilities.dtype == np.float32 and probabilities.shape == expected(x).shape, name
    worst = float(np.abs(probabilities - expected(x)).max())
    assert worst < TOLERANCE, f"{name}: ONNX Runtime is {worst} away from scikit-learn"
    predicted = probabilities.argmax(axis=1)
    assert (predicted == expected(x).argmax(axis=1)).all(), name
    if "label" in outputs:
        assert outputs["label"].dtype == np.int64 and (outputs["label"] == predicted).all(), name
    accuracy = accuracy_score(y, predicted)
    print(f"{name:11} {accuracy:.4f} on {len(y)} held-out rows, {(predicted != y).sum()} wrong; "
          f"largest difference to scikit-learn {worst:.1e}; outputs {', '.join(names)}")
    return accuracy


def write_model(out, name, model, description, labels, provenance):
    folder = out / "models" / name / "1"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(model.SerializeToString(deterministic=True))
    quoted = ", ".join(f'"{label}"' for label in labels)
    (folder / "model.yaml").write_text(
        f'description: "{description}"\nlabels: [{quoted}]\nprovenance: "{provenance}"\n')


def write_rows(path, x, y):
    """Header and one line per row; the shortest text that reads back to the same float32."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["label"] + [f"f{i}" for i in range(x.shape[1])])
        for label, row in zip(y, x):
            writer.writerow([int(label)] + [np.format_float_positional(value, trim="-")
                                            for value in row])
    read = np.array([line.split(",") for line in path.read_text().splitlines()[1:]])
    assert (read[:, 0].astype(int) == y).all()
    assert (read[:, 1:].astype(np.float32) == x).all(), f"{path}: a value changed in its text"


def main():
    parser = argparse.ArgumentParser(description="Makes what `millrace demo` sends and runs.")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent)
    out = parser.parse_args().out

    cancer, digits = load_breast_cancer(), load_digits()
    made_by = f"make_models.py, scikit-learn {sklearn.__version__}, seed {SEED}"
    cancer_from = ("trained on 70 % of Breast Cancer Wisconsin (Diagnostic), UCI, "
                   f"doi:10.24432/C5DW2B, CC BY 4.0; {made_by}")
    digits_from = ("trained on 70 % of Optical Recognition of Handwritten Digits (test set), UCI, "
                   f"doi:10.24432/C50P49, CC BY 4.0; {made_by}")
    jobs = [
        ("cancer-mlp", cancer, cancer_mlp, cancer_from,
         "Breast tumour from 30 cell nucleus measurements: standard scaling and a 30-64-32-2 MLP"),
        ("cancer-gbt", cancer, cancer_gbt, cancer_from,
         "Breast tumour from 30 cell nucleus measurements: 100 boosted trees of depth 3"),
        ("digits-mlp", digits, digits_mlp, digits_from,
         "Handwritten digit from 8x8 pixels of 0 to 16: a 64-64-10 MLP"),
    ]
    for name, dataset, make, provenance, description in jobs:
        train_x, held_x, train_y, held_y = split(dataset)
        model, expected = make(train_x, train_y)
        held_out_accuracy(name, model, expected, held_x, held_y)
        write_model(out, name, model, description, [str(n) for n in dataset.target_names],
                    provenance)
    for name, dataset in (("cancer", cancer), ("digits", digits)):
        _, held_x, _, held_y = split(dataset)
        write_rows(out / "data" / f"{name}.csv", held_x, held_y)


if __name__ == "__main__":
    # One thread: the order of a sum, and with it the last bit of a weight, must not vary.
    with threadpool_limits(limits=1):
        main()
