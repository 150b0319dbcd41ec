"""Whatever model is brought answers as ONNX Runtime does in Python, through the whole pipeline."""

import json

import numpy as np
import onnxruntime
import pytest
from helpers import dead_letters, lines, outcomes, results, verify
from model_zoo import ZOO, write_zoo
from waiting import wait_until

ROWS = 60
SEED = 20261121
NUMPY = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(string)": object,
         "tensor(int64)": np.int64, "tensor(int8)": np.int8, "tensor(uint16)": np.uint16,
         "tensor(bool)": np.bool_, "tensor(float16)": np.float16}


# What was not learnt to the end answers as well.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def rows_of(name):
    random = np.random.default_rng([SEED, list(ZOO).index(name)])
    return [ZOO[name][1](random) for _ in range(ROWS)]


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """The repository with all of ZOO, made once."""
    return write_zoo(tmp_path_factory.mktemp("zoo"))


def session_of(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def expected_outputs(session, row):
    """{output: nested list} of one row; a map becomes the list of its values, in their order."""
    feeds = {i.name: np.array([row[i.name]], NUMPY[i.type]) for i in session.get_inputs()}
    found = session.run(None, feeds)
    return {o.name: list(one[0].values()) if isinstance(one, list) else np.asarray(one).tolist()[0]
            for o, one in zip(session.get_outputs(), found)}


def assert_same(got, want, where):
    if isinstance(want, list):
        assert isinstance(got, list) and len(got) == len(want), (where, got, want)
        for i, (one, other) in enumerate(zip(got, want)):
            assert_same(one, other, f"{where}[{i}]")
    elif isinstance(want, float):
        assert got == pytest.approx(want, rel=1e-6, abs=1e-7), where
    else:
        assert got == want, where


def flat(nested):
    return [x for part in nested for x in flat(part)] if isinstance(nested, list) else [nested]


def test_every_model_of_the_zoo_answers_as_in_python(run_millrace, worker, local_dir, zoo):
    data = local_dir / "log"
    run_millrace(["topics", "create", "--data", data, "--partitions-scale", "0.02"])
    bodies = [{"request_id": f"{name}|{number}", "tenant_id": f"t-{number % 3}", "model_id": name,
               "inputs": row}
              for name in ZOO for number, row in enumerate(rows_of(name))]
    np.random.default_rng(SEED).shuffle(bodies)
    run_millrace(["send", "--data", data], input=lines(bodies))
    with worker("--data", data, "--models", zoo, ready_timeout=60) as running:
        wait_until(lambda: outcomes(running) == len(bodies))
        assert running.stop() == 0
    # An encoder that knows a few words only has none of those that warm-up makes up.
    (told,) = [one for one in running.log.read_text().splitlines() if "model_not_warmed" in one]
    assert "model=known-words version=1 " in told
    assert dead_letters(run_millrace, data) == []
    assert verify(run_millrace, data)[0] == 0
    answered = {one["request_id"]: one for one in results(run_millrace, data)}
    for name in ZOO:
        session = session_of(zoo / name / "1" / "model.onnx")
        for number, row in enumerate(rows_of(name)):
            result = answered[f"{name}|{number}"]
            want = expected_outputs(session, row)
            if len(want) == 1:
                (only,) = want.values()
                assert_same(result["output"], flat(only), f"{name}|{number}")
            else:
                assert list(result["outputs"]) == list(want)
                for key, one in want.items():
                    assert_same(result["outputs"][key], one, f"{name}|{number}.{key}")
    # Batches were formed: what one row answers does not depend on those beside it.
    assert max(one["batch_size"] for one in answered.values()) > 1


def test_models_list_checks_each_of_the_zoo(run_millrace, zoo):
    done = run_millrace(["models", "list", "--models", zoo, "--check", "-o", "json"])
    listed = json.loads(done.stdout)["models"]
    assert {one["model_id"]: one["check"] for one in listed} == dict.fromkeys(ZOO, "ok")
