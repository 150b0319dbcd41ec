#!/usr/bin/env python3
"""Writes the model repository that `make bench` measures.

    mlp   30 -> 64 -> 32 -> 2       Gemm, Relu, Softmax; random weights
    gbt   30 features, 100 boosted trees of depth 6, trained on synthetic rows
    wide  784 -> 512 -> 256 -> 10   Gemm, Relu, Softmax; random weights

Each takes `features` float32 [N, width] and gives `probabilities` float32 [N, classes]. What they
predict means nothing; what they cost does. Same seed, same versions, same bytes.

    pip install -r ../examples/demo/requirements.txt
    python make_models.py DIR
"""

import argparse
import pathlib

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import GradientBoostingClassifier
from threadpoolctl import threadpool_limits

SEED = 20240601
OPSET, ML_OPSET, IR_VERSION = 17, 3, 8


def finish(graph, ml=False):
    opsets = [helper.make_opsetid("", OPSET)]
    if ml:
        opsets.append(helper.make_opsetid("ai.onnx.ml", ML_OPSET))
    return helper.make_model(graph, producer_name="millrace-bench", ir_version=IR_VERSION,
                             opset_imports=opsets)


def mlp(name, widths):
    """He-initialised weights keep the activations of every layer at the scale of the input."""
    random = np.random.default_rng(SEED)
    nodes, constants, value = [], [], "features"
    for i, (rows, columns) in enumerate(zip(widths, widths[1:])):
        weights = random.standard_normal((rows, columns)) * np.sqrt(2 / rows)
        constants.append(numpy_helper.from_array(weights.astype(np.float32), f"w{i}"))
        constants.append(numpy_helper.from_array(np.zeros(columns, np.float32), f"b{i}"))
        nodes.append(helper.make_node("Gemm", [value, f"w{i}", f"b{i}"], [f"z{i}"]))
        value = f"z{i}"
        if i + 2 < len(widths):
            nodes.append(helper.make_node("Relu", [value], [f"a{i}"]))
            value = f"a{i}"
    nodes.append(helper.make_node("Softmax", [value], ["probabilities"], axis=-1))
    return finish(helper.make_graph(
        nodes, name,
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", widths[0]])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", widths[-1]])],
        constants))


def gbt(name, features=30, rows=4000):
    random = np.random.default_rng(SEED)
    x = random.standard_normal((rows, features)).astype(np.float32)
    # Products and noise: a target that no tree settles early, so that all trees grow to full depth.
    score = (x[:, ::2] * x[:, 1::2]).sum(axis=1) + random.standard_normal(rows)
    trees = GradientBoostingClassifier(n_estimators=100, max_depth=6, max_features="sqrt",
                                       random_state=SEED).fit(x, score > 0)
    graph = convert_sklearn(trees, name, [("features", FloatTensorType([None, features]))],
                            target_opset={"": OPSET, "ai.onnx.ml": ML_OPSET},
                            options={"zipmap": False}).graph
    # Only the probabilities stay, and only the nodes that lead to them.
    outputs = [output for output in graph.output if output.name == "probabilities"]
    needed, nodes = {"probabilities"}, []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            nodes.insert(0, node)
    model = finish(helper.make_graph(nodes, name, graph.input, outputs, graph.initializer), ml=True)
    for value in [*model.graph.input, *model.graph.output]:
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    sample = x[:500]
    difference = np.abs(run(model, sample) - trees.predict_proba(sample)).max()
    assert difference < 1e-5, f"{name}: ONNX Runtime is {difference} away from scikit-learn"
    leaves = [int(tree.get_n_leaves()) for tree in trees.estimators_[:, 0]]
    print(f"{name}: {sum(leaves) / len(leaves):.1f} leaves per tree")
    return model


def run(model, x):
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"features": x})[0]


def main():
    parser = argparse.ArgumentParser(description="Writes the model repository of `make bench`.")
    parser.add_argument("out", type=pathlib.Path, metavar="DIR")
    out = parser.parse_args().out
    models = {
        "mlp": (mlp("mlp", [30, 64, 32, 2]), 30, 2),
        "gbt": (gbt("gbt"), 30, 2),
        "wide": (mlp("wide", [784, 512, 256, 10]), 784, 10),
    }
    for name, (model, width, classes) in models.items():
        onnx.checker.check_model(model, full_check=True)
        x = np.random.default_rng(1).standard_normal((64, width)).astype(np.float32)
        probabilities = run(model, x)
        assert probabilities.dtype == np.float32 and probabilities.shape == (64, classes), name
        assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5), name
        path = out / name / "1" / "model.onnx"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(model.SerializeToString(deterministic=True))
        print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    with threadpool_limits(limits=1):
        main()
