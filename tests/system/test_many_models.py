"""More than a hundred models in one worker: all at once, a few at a time, or none to begin with."""

import json
import pathlib
import random
import re
import shutil

import numpy as np
import onnx
import pytest
from helpers import LINEAR, MODELS, lines, outcomes, request, results, verify
from onnx import TensorProto, helper, numpy_helper
from test_memory import resident_mib
from waiting import wait_until

COUNT = 120
# Of the weights, so that a model is worth unloading.
WIDTH = 1 << 16


def write_model(path, bias, width=WIDTH):
    """Answers the first of its four inputs and `bias` more."""
    weights = np.zeros((4, width), np.float32)
    weights[0, 0] = 1
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["wide"]),
         helper.make_node("Slice", ["wide", "zero", "one", "one"], ["first"]),
         helper.make_node("Add", ["first", "b"], ["y"])],
        "biased", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1])],
        [numpy_helper.from_array(weights, "w"),
         numpy_helper.from_array(np.array([bias], np.float32), "b"),
         numpy_helper.from_array(np.array([0], np.int64), "zero"),
         numpy_helper.from_array(np.array([1], np.int64), "one")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.parent.mkdir(parents=True)
    onnx.save(model, path)


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("many")
    for i in range(COUNT):
        write_model(folder / f"m{i}" / "1" / "model.onnx", 1000 * i)
    return folder


@pytest.fixture
def log(local_dir, run_millrace):
    run_millrace(["topics", "create", "--data", local_dir / "log", "--partitions-scale", "0.05"])
    return local_dir / "log"


def draw_requests(rounds):
    """Every model in every round, in whatever order chance gives; (seed, bodies)."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    draw = random.Random(seed)
    order = []
    for _ in range(rounds):
        models = list(range(COUNT))
        draw.shuffle(models)
        order += models
    return seed, [request(n, model=f"m{model}", input=[n % 1000, 0, 0, 0])
                  for n, model in enumerate(order)]


def check_answers(run_millrace, log, bodies):
    answers = {one["request_id"]: one["output"] for one in results(run_millrace, log)}
    assert answers == {body["request_id"]: [body["input"][0] + 1000.0 * int(body["model_id"][1:])]
                       for body in bodies}
    assert verify(run_millrace, log)[0] == 0


def test_a_hundred_and_twenty_models_serve_from_one_worker(run_millrace, worker, log, repository):
    _, bodies = draw_requests(5)
    with worker("--data", log, "--models", repository, ready_timeout=180) as running:
        threads = len(list(pathlib.Path(f"/proc/{running.pid}/task").iterdir()))
        run_millrace(["send", "--data", log], input=lines(bodies))
        wait_until(lambda: outcomes(running) == len(bodies))
        assert len(list(pathlib.Path(f"/proc/{running.pid}/task").iterdir())) <= threads
        assert running.stop() == 0
    check_answers(run_millrace, log, bodies)


def test_where_a_few_fit_all_of_them_answer(run_millrace, worker, log, repository):
    seed, bodies = draw_requests(3)
    fitting = 20
    footprint = 2 * (repository / "m0" / "1" / "model.onnx").stat().st_size + 2**20
    settings = ("-s", "repository.lazy=true", "-s", f"repository.memory={fitting * footprint}")
    with worker("--data", log, "--models", repository, *settings) as running:
        before = resident_mib(running.pid)
        most = 0
        for first in range(0, len(bodies), COUNT):
            run_millrace(["send", "--data", log], input=lines(bodies[first:first + COUNT]))

            def answered():
                nonlocal most
                most = max(most, resident_mib(running.pid))
                return outcomes(running) == first + COUNT
            wait_until(answered)
        text = running.log.read_text()
        assert running.stop() == 0
    # Each is loaded at least once, and most of them again in the later rounds.
    assert len(re.findall(r'\bmodel_loaded\b', text)) > COUNT, f"seed {seed}"
    assert len(re.findall(r'\bmodel_put_to_sleep\b', text)) > COUNT - fitting, f"seed {seed}"
    assert most < before + 2 * fitting * footprint / 2**20, f"seed {seed}: {before} MiB, {most}"
    check_answers(run_millrace, log, bodies)


def test_memory_goes_back_when_a_model_is_retired(run_millrace, worker, log, local_dir):
    mib = 64
    write_model(local_dir / "models" / "large" / "1" / "model.onnx", 0, width=mib * 2**20 // 16)
    shutil.copytree(MODELS / LINEAR, local_dir / "models" / LINEAR)
    with worker("--data", log, "--models", local_dir / "models",
                "-s", "models.large.max_rows=1") as running:
        run_millrace(["send", "--data", log], input=lines(
            request(n, model="large", input=[n, 0, 0, 0]) for n in range(50)))
        wait_until(lambda: outcomes(running) == 50)
        loaded = resident_mib(running.pid)
        run_millrace(["models", "retire", "large", "--data", log, "--wait", "30s"])
        wait_until(lambda: resident_mib(running.pid) < loaded - 0.9 * mib,
                   what=f"{mib} MiB of {loaded:.0f} given back")
        run_millrace(["send", "--data", log], input=lines(request(n) for n in range(50, 100)))
        wait_until(lambda: outcomes(running) == 100)
        assert running.stop() == 0


def test_a_worker_without_a_model_gets_its_models_by_events(run_millrace, worker, log, local_dir):
    store = local_dir / "store"
    shutil.copytree(MODELS / LINEAR, store / LINEAR)
    refused = run_millrace(["serve", "--data", log, "-s", "http.admin_listen="], check=False)
    assert refused.returncode == 3 and "repository.dir" in refused.stderr
    with worker("--data", log, "-s", f"repository.store=file://{store}",
                "-s", "repository.allow_missing_for=1h") as running:
        assert "no_models" in running.log.read_text()
        run_millrace(["send", "--data", log], input=lines(request(n) for n in range(50)))
        run_millrace(["models", "promote", LINEAR, "1", "--uri", f"{LINEAR}/1/", "--data", log,
                      "-s", f"repository.store=file://{store}", "--wait", "30s"])
        wait_until(lambda: outcomes(running) == 50)
        (state,) = json.loads(run_millrace(
            ["models", "status", "--data", log, "-o", "json"]).stdout)["models"]
        assert state["workers"][0]["state"] == "serving"
        assert running.stop() == 0
    assert len(results(run_millrace, log)) == 50
