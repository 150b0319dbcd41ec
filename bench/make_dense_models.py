#!/usr/bin/env python3
"""Writes two versions of a model whose rows cost something: DIR/dense/{1,2}/model.onnx.

64 numbers through two hidden layers of --width to one number, with other weights in each version.
--activations makes a row cost more without making the file larger: as many in a row, of 16 copies
of the second layer.
"""

import argparse
import pathlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FEATURES = 64
COPIES = 16


def dense(width, activations, seed):
    rng = np.random.default_rng(seed)
    sizes = [FEATURES, width, width, 1]
    copies = COPIES if activations else 1
    nodes, constants, name = [], [], "x"
    for i, (rows, columns) in enumerate(zip(sizes, sizes[1:])):
        rows *= copies if i == 2 else 1
        weights = (rng.standard_normal((rows, columns)) / np.sqrt(rows)).astype(np.float32)
        bias = rng.standard_normal(columns).astype(np.float32)
        constants += [numpy_helper.from_array(weights, f"w{i}"),
                      numpy_helper.from_array(bias, f"b{i}")]
        last = i == len(sizes) - 2
        out = "y" if last else f"h{i}"
        nodes.append(helper.make_node("Gemm", [name, f"w{i}", f"b{i}"], [out]))
        if not last:
            nodes.append(helper.make_node("Relu", [out], [f"r{i}"]))
            name = f"r{i}"
        if i == 1 and activations:
            constants += [numpy_helper.from_array(np.array(1.5, np.float32), "gain"),
                          numpy_helper.from_array(np.array([1, COPIES], np.int64), "copies")]
            nodes.append(helper.make_node("Tile", [name, "copies"], ["tiled"]))
            name = "tiled"
            for n in range(activations):
                nodes.append(helper.make_node("Mul", [name, "gain"], [f"m{n}"]))
                nodes.append(helper.make_node("Tanh", [f"m{n}"], [f"t{n}"]))
                name = f"t{n}"
    value = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "dense",
                              [value("x", TensorProto.FLOAT, ["N", FEATURES])],
                              [value("y", TensorProto.FLOAT, ["N", 1])], constants)
    return helper.make_model(graph, producer_name="millrace-bench", ir_version=8,
                             opset_imports=[helper.make_opsetid("", 17)])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dir", type=pathlib.Path)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--activations", type=int, default=0)
    args = parser.parse_args()
    for version in (1, 2):
        path = args.dir / "dense" / str(version) / "model.onnx"
        path.parent.mkdir(parents=True, exist_ok=True)
        onnx.save(dense(args.width, args.activations, version), path)
        print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
