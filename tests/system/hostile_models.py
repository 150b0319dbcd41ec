"""Model files that nobody should serve, each made by a function: broken, mistaken or malicious.

HOSTILE maps a name to a Case. `write` puts the version's files into its folder; `reason` is a
pattern of what the probe says (or, where nothing is even listed, the repository's warning).
"""

import dataclasses
import gzip
import io
import json
import os
import pathlib
import pickle
import re
import typing
import zipfile

import numpy as np
from onnx import TensorProto, helper, numpy_helper

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
LINEAR = pathlib.Path(__file__).resolve().parent.parent / "models" / "linear" / "1" / "model.onnx"
OPSET = 17


@dataclasses.dataclass
class Case:
    write: typing.Callable
    reason: str
    engine: str = "onnx"
    listed: bool = True  # False: the repository does not even take it for a model.


HOSTILE = {}


def hostile(reason, **case):
    """Registers a function that returns the model or its bytes, or writes the folder itself."""

    def register(make):
        def write(folder):
            folder.mkdir(parents=True)
            made = make(folder) if make.__code__.co_argcount else make()
            if made is not None:
                data = made if isinstance(made, bytes) else made.SerializeToString()
                (folder / f"model.{case.get('engine', 'onnx')}").write_bytes(data)

        HOSTILE[make.__name__] = Case(write, reason, **case)
        return make

    return register


def value(name, element_type=FLOAT, shape=("N", 4)):
    return helper.make_tensor_value_info(name, element_type, shape)


def constant(name, array):
    return numpy_helper.from_array(np.array(array), name)


def floats(name, *numbers):
    return constant(name, np.array(numbers, np.float32))


def whole(name, *numbers):
    return constant(name, np.array(numbers, np.int64))


def model(nodes, initializers=(), inputs=None, outputs=None, functions=(), opsets=None):
    graph = helper.make_graph(nodes, "hostile", inputs or [value("x")], outputs or [value("y")],
                              list(initializers))
    imports = [helper.make_opsetid(k, v) for k, v in (opsets or {"": OPSET}).items()]
    return helper.make_model(graph, ir_version=8, opset_imports=imports, functions=list(functions))


def node(op, inputs, outputs=("y",), **attributes):
    return helper.make_node(op, list(inputs), list(outputs), **attributes)


def external(location, **also):
    tensor = TensorProto(name="w", data_type=FLOAT, dims=[4])
    tensor.data_location = TensorProto.EXTERNAL
    for key, text in {"location": location, **also}.items():
        tensor.external_data.add(key=key, value=str(text))
    return tensor


def adding(tensor):
    """x + w, with `tensor` for w."""
    return model([node("Add", ["x", "w"])], [tensor])


def local_function(name, nodes):
    """a to b."""
    imports = [helper.make_opsetid("", OPSET), helper.make_opsetid("local", 1)]
    return helper.make_function("local", name, ["a"], ["b"], nodes, imports)


def calling(*functions):
    """x through the first of the functions."""
    return model([node(functions[0].name, ["x"], domain="local")], functions=functions,
                 opsets={"": OPSET, "local": 1})


# Files that are no model, or not all of one.


@hostile("is empty")
def empty():
    return b""


@hostile("text file")
def text_file():
    return b"weights: [1, 2, 3]\n" * 10


@hostile("text file")
def web_page():
    return b"<!DOCTYPE html><html><body>404 Not Found</body></html>\n"


@hostile("Git LFS")
def lfs_pointer():
    return b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"


@hostile("no ONNX model")
def random_bytes():
    return np.random.default_rng(1).bytes(4096)


@hostile("cut short")
def truncated_at_the_start():
    return LINEAR.read_bytes()[:5]


@hostile("cut short")
def truncated_in_the_middle():
    data = LINEAR.read_bytes()
    return data[:len(data) // 2]


@hostile("cut short")
def truncated_before_the_end():
    return adding(floats("w", 1, 2, 3, 4)).SerializeToString()[:-1]


@hostile("zip archive")
def zip_archive():
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("model.onnx", LINEAR.read_bytes())
    return packed.getvalue()


@hostile("gzip archive")
def gzip_archive():
    return gzip.compress(LINEAR.read_bytes())


@hostile("Python pickle")
def python_pickle():
    return pickle.dumps({"coefficients": [1.0, 2.0], "os": os.path.join("a", "b")}, protocol=4)


@hostile(r"\.ort format")
def ort_format():
    return b"\x20\0\0\0ORTM" + bytes(200)


# Data that is elsewhere.


@hostile("outside of the file, at '/etc/hostname'")
def external_data_absolute():
    return adding(external("/etc/hostname"))


@hostile(r"outside of the file, at '\.\./\.\./\.\./\.\./etc/passwd'")
def external_data_traversal():
    return adding(external("../../../../etc/passwd", offset=0, length=16))


@hostile("outside of the file")
def external_data_by_a_link(folder):
    (folder / "weights.bin").symlink_to("/etc/passwd")
    return adding(external("weights.bin"))


@hostile("address in memory")
def external_data_of_an_address():
    return adding(external("*/_ORT_MEM_ADDR_/*", offset=0x400000, length=16))


@hostile("outside of the file")
def external_data_of_a_constant():
    return model([node("Constant", [], ["w"], value=external("/etc/passwd")),
                  node("Add", ["x", "w"])])


@hostile("outside of the file")
def external_data_in_a_function():
    stolen = node("Constant", [], ["w"], value=external("/etc/passwd"))
    return calling(local_function("F", [stolen, node("Add", ["a", "w"], ["b"])]))


@hostile("leads out of the repository", listed=False)
def model_file_that_leads_out(folder):
    (folder / "model.onnx").symlink_to(LINEAR)


@hostile("is not a regular file", listed=False)
def fifo_for_a_file(folder):
    os.mkfifo(folder / "model.onnx")


# What is declared and is not so.


@hostile("declares 4000000000000 bytes and holds 0")
def huge_initializer_that_is_absent():
    return adding(TensorProto(name="w", data_type=FLOAT, dims=[1000000, 1000000], raw_data=b""))


@hostile("too large for 63 bits")
def dimensions_that_overflow():
    return adding(TensorProto(name="w", data_type=FLOAT, dims=[2**33, 2**33], raw_data=bytes(16)))


@hostile("negative dimension")
def negative_dimensions():
    return adding(TensorProto(name="w", data_type=FLOAT, dims=[-4], raw_data=bytes(16)))


@hostile("once it is written out")
def sparse_tensor_of_terabytes():
    made = adding(floats("v", 1))
    sparse = made.graph.sparse_initializer.add()
    sparse.values.CopyFrom(floats("w", 1))
    sparse.indices.CopyFrom(whole("", 3))
    sparse.dims.extend([2**40])
    return made


@hostile("domain 'evil.example'")
def operator_of_a_stranger():
    return model([node("Steal", ["x"], domain="evil.example")],
                 opsets={"": OPSET, "evil.example": 1})


@hostile("calls itself")
def function_that_calls_itself():
    return calling(local_function("F", [node("F", ["a"], ["b"], domain="local")]))


@hostile("once its functions are written out")
def functions_that_double():
    made = [local_function(f"F{i}", [node(f"F{i + 1}", ["a"], ["c"], domain="local"),
                                     node(f"F{i + 1}", ["c"], ["b"], domain="local")])
            for i in range(30)]
    return calling(*made, local_function("F30", [node("Neg", ["a"], ["b"])]))


@hostile("more than 16 deep")
def subgraphs_without_bottom():
    inner = helper.make_graph([node("Neg", ["x"], ["z"])], "g", [], [value("z")])
    for _ in range(28):
        chosen = node("If", ["yes"], ["z"], then_branch=inner)
        inner = helper.make_graph([chosen], "g", [], [value("z")])
    return model([node("If", ["yes"], then_branch=inner)], [constant("yes", True)])


# Graphs that make no sense.


@hostile("acyclic")
def cycle_in_the_graph():
    return model([node("Add", ["x", "b"], ["a"]), node("Neg", ["a"], ["b"]), node("Neg", ["b"])])


@hostile("nobody_gives_this")
def input_that_nobody_gives():
    return model([node("Add", ["x", "nobody_gives_this"])])


@hostile("graph")
def output_that_nobody_makes():
    return model([node("Neg", ["x"], ["z"])])


@hostile("Duplicate definition")
def two_values_of_one_name():
    return model([node("Neg", ["x"]), node("Abs", ["x"])])


@hostile("opset")
def operators_from_the_future():
    return model([node("Neg", ["x"])], opsets={"": 999})


@hostile("NoSuchThing")
def operator_that_does_not_exist():
    return model([node("NoSuchThing", ["x"])])


@hostile("Type Error|Type parameter")
def types_that_do_not_fit():
    return model([node("Add", ["x", "w"])], [whole("w", 1, 2, 3, 4)])


@hostile("Type Error")
def output_of_another_type():
    return model([node("Neg", ["x"])], outputs=[value("y", INT64)])


@hostile("ShapeInferenceError")
def shapes_that_do_not_fit():
    return model([node("Add", ["x", "w"])], [floats("w", 1, 2, 3)])


@hostile(r"seq\(tensor\(float\)\)")
def output_that_is_a_sequence():
    sequence = helper.make_tensor_sequence_value_info("y", FLOAT, None)
    return model([node("SequenceConstruct", ["x", "x"])], outputs=[sequence])


@hostile("its first dimension is not the batch")
def output_that_loses_the_rows():
    return model([node("ReduceSum", ["x"], keepdims=0)], outputs=[value("y", FLOAT, (None,))])


@hostile("out of data bounds")
def index_out_of_range():
    return model([node("Gather", ["w", "i"], ["row"]), node("Add", ["x", "row"])],
                 [floats("w", 1, 2, 3, 4), whole("i", 99)])


# What crashes the library, or makes it work without end.


def windows(op, kernel=True, **attributes):
    """`op`, which moves a window over the four elements of a row."""
    weights = [constant("w", np.ones((1, 1, 2), np.float32))] if kernel else []
    return model([node(op, ["x", "w"] if kernel else ["x"], **attributes)], weights,
                 inputs=[value("x", shape=("N", 1, 4))], outputs=[value("y", shape=None)])


@hostile(r"crashed its probe \(SIGFPE\) while it was loaded")
def stride_of_zero():
    """A fault of arithmetic while the library looks at shapes."""
    return windows("Conv", strides=[0])


@hostile(r"crashed its probe \(SIGFPE\) while it was loaded")
def pool_of_stride_zero():
    return windows("MaxPool", kernel=False, kernel_shape=[2], strides=[0])


@hostile(r"crashed its probe \(SIGFPE\) while it was loaded")
def groups_of_zero():
    return windows("ConvTranspose", strides=[0], group=0)


@hostile("Blocksize")
def block_of_zero():
    return model([node("DepthToSpace", ["x"], blocksize=0)],
                 inputs=[value("x", shape=("N", 4, 2, 2))], outputs=[value("y", shape=None)])


def trees(**attributes):
    usual = {
        "n_targets": 1, "nodes_treeids": [0, 0, 0], "nodes_nodeids": [0, 1, 2],
        "nodes_featureids": [0, 0, 0], "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"],
        "nodes_values": [0.5, 0.0, 0.0], "nodes_truenodeids": [1, 0, 0],
        "nodes_falsenodeids": [2, 0, 0], "target_treeids": [0, 0], "target_nodeids": [1, 2],
        "target_ids": [0, 0], "target_weights": [1.0, 2.0]}
    usual.update(attributes)
    return model([node("TreeEnsembleRegressor", ["x"], domain="ai.onnx.ml", **usual)],
                 outputs=[value("y", shape=("N", 1))], opsets={"": OPSET, "ai.onnx.ml": 3})


@hostile("tree_ensemble")
def tree_that_is_its_own_branch():
    return trees(nodes_truenodeids=[0, 0, 0])


@hostile("tree_ensemble")
def tree_with_a_missing_branch():
    return trees(nodes_falsenodeids=[77, 0, 0])


@hostile(r"crashed its probe \(SIGSEGV\) while its first rows ran")
def tree_of_a_feature_before_the_row():
    return trees(nodes_featureids=[-(1 << 28), 0, 0])


@hostile(r"crashed its probe \(SIGSEGV\) while its first rows ran")
def element_before_the_row():
    return model([node("ArrayFeatureExtractor", ["x", "i"], domain="ai.onnx.ml")],
                 [whole("i", -(1 << 40))], outputs=[value("y", shape=("N", 1))],
                 opsets={"": OPSET, "ai.onnx.ml": 3})


def whole_numbers(op):
    """x `op` 0, in whole numbers."""
    return model([node("Cast", ["x"], ["i"], to=INT64), node(op, ["i", "zero"], ["j"]),
                  node("Cast", ["j"], ["y"], to=FLOAT)], [whole("zero", 0)])


@hostile(r"crashed its probe \(SIGFPE\) while its first rows ran")
def division_by_zero():
    return whole_numbers("Div")


@hostile(r"crashed its probe \(SIGFPE\) while its first rows ran")
def remainder_of_zero():
    return whole_numbers("Mod")


@hostile("memory|limit|alloc|exceed|at once")
def tile_bomb():
    return model([node("Tile", ["x", "many"], ["big"]), node("ReduceMax", ["big"], axes=[1])],
                 [whole("many", 1, 1 << 33)])


@hostile("memory|limit|alloc|exceed|at once")
def constant_bomb():
    """Sixteen terabytes, made while the library folds constants."""
    return model([node("ConstantOfShape", ["shape"], ["big"]),
                  node("ReduceSum", ["big"], ["sum"], keepdims=0), node("Add", ["x", "sum"])],
                 [whole("shape", 1 << 21, 1 << 21)])


@hostile("memory|limit|alloc|exceed|at once")
def expand_bomb():
    return model([node("Expand", ["x", "shape"], ["big"]),
                  node("ReduceMax", ["big"], ["max"], axes=[0]), node("Add", ["x", "max"])],
                 [whole("shape", 1 << 35, 1, 4)], inputs=[value("x")])


@hostile("memory|limit|alloc|exceed|range")
def range_bomb():
    return model([node("Range", ["zero", "end", "one"], ["many"]),
                  node("Cast", ["many"], ["float"], to=FLOAT),
                  node("ReduceSum", ["float"], ["sum"], keepdims=0), node("Add", ["x", "sum"])],
                 [constant("zero", np.int64(0)), constant("end", np.int64(1 << 40)),
                  constant("one", np.int64(1))])


def loop(body_nodes, carried, trips=1 << 62):
    """x through a Loop of `trips` rounds whose body is given."""
    inputs = [value("i", INT64, ()), value("go_on", BOOL, ()), value("c", FLOAT, None)]
    outputs = [value("still", BOOL, ()), value("d", FLOAT, None)]
    body = helper.make_graph([node("Identity", ["go_on"], ["still"]), *body_nodes], "body", inputs,
                             outputs)
    return model([node("Loop", ["trips", "yes", "x"], [carried], body=body),
                  node("ReduceMax", [carried], ["max"], keepdims=0), node("Add", ["x", "max"])],
                 [constant("trips", np.int64(trips)), constant("yes", True)])


@hostile("was not done within")
def loop_without_end():
    return loop([node("Neg", ["c"], ["d"])], "last")


@hostile("memory|limit|alloc|exceed|at once")
def loop_that_doubles():
    return loop([node("Concat", ["c", "c"], ["d"], axis=0)], "last", trips=64)


@hostile("memory|limit|alloc|exceed|was not done")
def split_into_very_many():
    body = [node("SplitToSequence", ["big"], ["parts"], axis=0, keepdims=1),
            node("SequenceAt", ["parts", "zero"], ["part"])]
    return model([node("Tile", ["x", "many"], ["big"]), *body, node("Add", ["x", "part"])],
                 [whole("many", 1 << 27, 1), constant("zero", np.int64(0))])


@hostile("crashed its probe|memory|alloc|[Pp]ad|exceed|limit")
def padding_beyond_all_bounds():
    return model([node("Pad", ["x", "pads"], ["big"]), node("ReduceMax", ["big"], axes=[1])],
                 [whole("pads", 0, 0, 0, 1 << 61)])


@hostile("crashed its probe|memory|alloc|Resize|exceed|limit|overflow|at once")
def resize_beyond_all_bounds():
    return model([node("Resize", ["x", "", "scales"], ["big"], mode="nearest"),
                  node("ReduceMax", ["big"], axes=[1])],
                 [floats("scales", 1, 2**40)])


# A good model with rows that it does not answer.


def good(folder, *golden):
    lines = [line if isinstance(line, str) else json.dumps(line) for line in golden]
    (folder / "golden.ndjson").write_text("".join(line + "\n" for line in lines))
    return LINEAR.read_bytes()


@hostile(r"golden\.ndjson, line 2: output .*\[0\] is 4(\.0)?, expected is 5")
def golden_row_of_another_model(folder):
    return good(folder, {"input": [1, 0, 0, 0], "output": [1]},
                {"input": [0, 0, 0, 1], "output": [5]})


@hostile(r"golden\.ndjson, line 1: .*expects")
def golden_row_of_another_shape(folder):
    return good(folder, {"input": [1, 2], "output": [1]})


@hostile(r"golden\.ndjson, line 1: is no JSON object")
def golden_rows_that_are_no_json(folder):
    return good(folder, "input,output")


@hostile("leads out of the version's folder")
def golden_rows_that_lead_out(folder):
    (folder / "golden.ndjson").symlink_to("/etc/passwd")
    return LINEAR.read_bytes()


# Models of the test engine, which do what they are told.


@hostile("crashed its probe \\(SIGABRT\\) while its first rows ran", engine="test")
def aborts_when_it_runs():
    return b"elements=4\ncrash_value=0\n"


@hostile("crashed its probe \\(SIGABRT\\)", engine="test")
def aborts_on_a_thread_of_its_own():
    return b"elements=4\ncrash_value=0\ncrash_on=thread\n"


@hostile("crashed its probe \\(SIGSEGV\\) while it was loaded", engine="test")
def faults_when_it_is_loaded():
    return b"load=fault\n"


@hostile("was not done within .* while it was loaded", engine="test")
def never_returns_when_it_is_loaded():
    return b"load=hang\n"


@hostile("was not done within .* while its first rows ran", engine="test")
def never_returns_when_it_runs():
    return b"elements=4\nhang_value=0\n"


@hostile("ended its probe \\(exit 0\\) while it was loaded", engine="test")
def leaves_when_it_is_loaded():
    return b"load=exit\n"


def write_hostile(repository, names=None):
    """Writes the named cases (all of them) as models of that name; their names."""
    names = list(names or HOSTILE)
    for name in names:
        HOSTILE[name].write(repository / name / "1")
    return names


def matches(name, text):
    return re.search(HOSTILE[name].reason, text) is not None
