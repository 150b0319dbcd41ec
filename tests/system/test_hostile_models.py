"""Hostile and broken models are rejected with a reason, and nobody who serves notices them."""

import json
import pathlib
import resource
import shutil
import time

import pytest
from helpers import dead_letters, expected_output, lines, outcomes, request, results, verify
from hostile_models import HOSTILE, LINEAR, matches, write_hostile
from model_zoo import ZOO, write_zoo
from waiting import wait_until

MODELS = pathlib.Path(__file__).resolve().parent.parent / "models"
# Enough for every model that is one, and soon over for those that take without end.
MEMORY_MIB, SECONDS = 512, 4
PATIENT = 60  # For those that end by themselves: the machine may be busy.
# The rest of a process: the program, the library, and what both have loaded.
PROCESS_MIB = 400


def probe_settings(cache, seconds=PATIENT):
    return ["-s", f"repository.cache_dir={cache}", "-s", f"repository.probe.memory={MEMORY_MIB}MiB",
            "-s", f"repository.probe.timeout={seconds}s"]


@pytest.fixture(autouse=True)
def confined(pytestconfig):
    if pytestconfig.getoption("--small"):
        pytest.skip("sanitizers map more than any limit, so their probes are not confined")


@pytest.fixture
def probe(run_millrace, local_dir):
    """probe(models, name, ...) -> (exit status, the report of `millrace models probe`)."""

    def run(models, *args, **settings):
        done = run_millrace(["models", "probe", "--models", models, "-o", "json", *args,
                             *probe_settings(local_dir / "cache", **settings)], check=False)
        assert done.stdout, f"exit {done.returncode}: {done.stderr}"
        return done.returncode, json.loads(done.stdout)

    return run


def linear_repository(folder):
    shutil.copytree(MODELS / "linear", folder / "linear")
    return folder


@pytest.mark.parametrize("name", HOSTILE)
def test_is_rejected_with_its_reason(name, probe, local_dir):
    models = local_dir / "models"
    write_hostile(models, [name])
    began = time.monotonic()
    seconds = SECONDS if "was not done" in HOSTILE[name].reason else PATIENT
    code, report = probe(models, name, seconds=seconds)
    took = time.monotonic() - began
    assert code == 1
    if not HOSTILE[name].listed:
        assert report["models"] == []
        (warning, *_) = report["warnings"]
        assert matches(name, warning), warning
        return
    (found,) = report["models"]
    assert found["verdict"] == "rejected", found
    assert matches(name, found["reason"]), found["reason"]
    assert "\n" not in found["reason"] and len(found["reason"]) <= 1000
    assert took < seconds + 30
    # Of this process's children, the largest so far.
    peak_mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    assert peak_mib < MEMORY_MIB + PROCESS_MIB, f"{peak_mib:.0f} MiB"


def test_there_are_enough_of_them():
    assert len(HOSTILE) >= 30


def test_a_rejection_is_kept_and_asked_for_again_on_demand(probe, local_dir):
    models = local_dir / "models"
    write_hostile(models, ["external_data_traversal"])
    (first,) = probe(models, "external_data_traversal")[1]["models"]
    assert not first["kept"]
    code, report = probe(models, "external_data_traversal")
    (second,) = report["models"]
    assert code == 1 and second["kept"] and second["reason"] == first["reason"]
    (third,) = probe(models, "external_data_traversal", "--again")[1]["models"]
    assert not third["kept"] and third["probed_at"] > first["probed_at"]


def test_every_model_of_the_zoo_is_accepted(probe, local_dir):
    """With what it takes of memory, how sure its answers are, and all there is of confinement."""
    models = write_zoo(local_dir / "models")
    code, report = probe(models, "--all", seconds=60)
    assert code == 0, report
    found = {one["model_id"]: one for one in report["models"]}
    assert set(found) == set(ZOO)
    for one in found.values():
        assert one["verdict"] == "accepted"
        assert 0 < one["footprint_bytes"] < 200 << 20
        assert {"cpu", "files", "seccomp", "memory"} <= set(one["confinement"].split())
    assert {one["determinism"] for one in found.values()} <= {"exact", "close", "unknown"}


def test_golden_rows_that_hold_are_counted(probe, local_dir):
    models = linear_repository(local_dir / "models")
    golden = [{"input": [n, 0, 0, 1], "output": [n + 4]} for n in range(20)]
    golden += [{"inputs": {"x": [1, 2, 3, 4]}, "outputs": {"y": [30.001]}, "tolerance": 1e-3}]
    for version in ("1", "2"):
        (models / "linear" / version / "golden.ndjson").write_text(lines(golden))
    shutil.copy(LINEAR, models / "linear" / "2" / "model.onnx")
    code, report = probe(models, "linear:1")
    assert code == 0, report
    assert report["models"][0]["golden_rows"] == 21
    # The rows are a part of what is judged: with others the same bytes are asked anew.
    other = lines([{"input": [0] * 4, "output": [9]}])
    (models / "linear" / "2" / "golden.ndjson").write_text(other)
    code, report = probe(models, "linear:2")
    assert code == 1 and "expected is 9" in report["models"][0]["reason"]


def test_a_model_that_has_taken_its_probe_over_reaches_nothing(probe, run_millrace, local_dir):
    """Network, files, processes, the parent: each is tried from within."""
    models = local_dir / "models"
    (models / "spy" / "1").mkdir(parents=True)
    (models / "spy" / "1" / "model.test").write_text("load=escape\n")
    code, report = probe(models, "spy")
    assert code == 0, report["models"][0]["reason"]
    free = run_millrace(["models", "show", "spy", "--models", models, "-s",
                         "repository.probe.enabled=false"], check=False)
    assert free.returncode != 0 and "reach the network" in free.stderr


def test_domains_that_are_allowed_are_left_to_the_library(run_millrace, local_dir):
    write_hostile(local_dir / "models", ["operator_of_a_stranger"])
    done = run_millrace(["models", "probe", "operator_of_a_stranger", "--models",
                         local_dir / "models", "-o", "json", *probe_settings(local_dir / "cache"),
                         "-s", "repository.probe.allow_domains=evil.example"], check=False)
    (found,) = json.loads(done.stdout)["models"]
    assert found["verdict"] == "rejected" and "allow_domains" not in found["reason"]


def test_a_worker_does_not_start_with_a_model_that_was_rejected(run_millrace, worker, local_dir):
    models = linear_repository(local_dir / "models")
    write_hostile(models, ["tile_bomb"])
    data = local_dir / "log"
    run_millrace(["topics", "create", "--data", data, "--partitions-scale", "0.01"])
    with worker("--data", data, "--models", models, *probe_settings(local_dir / "cache"),
                ready=False) as running:
        assert running.process.wait(60) == 2
        text = running.log.read_text()
    assert "tile_bomb:1" in text and "rejected by its probe" in text


# Of each kind one: what the scan refuses, what the library does, what crashes, hangs and takes.
MET_WHILE_SERVING = ["truncated_in_the_middle", "external_data_traversal", "operator_of_a_stranger",
                     "cycle_in_the_graph", "stride_of_zero", "tile_bomb", "loop_without_end",
                     "golden_row_of_another_model", "aborts_when_it_runs",
                     "faults_when_it_is_loaded", "never_returns_when_it_is_loaded"]


def rss_mib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no VmRSS")


def children(pid):
    return [path.name for path in pathlib.Path("/proc").iterdir() if path.name.isdigit()
            and f"PPid:\t{pid}\n" in read_or_nothing(path / "status")]


def read_or_nothing(path):
    try:
        return path.read_text()
    except OSError:
        return ""


def test_a_worker_that_serves_meets_hostile_files_and_serves_on(run_millrace, worker, local_dir):
    models = linear_repository(local_dir / "models")
    data = local_dir / "log"
    run_millrace(["topics", "create", "--data", data, "--partitions-scale", "0.02"])
    with worker("--data", data, "--models", models, *probe_settings(local_dir / "cache", SECONDS),
                "-s", "repository.allow_missing_for=25s",
                "-s", "models.linear.version=1") as running:
        before = rss_mib(running.pid)
        write_hostile(local_dir / "made", MET_WHILE_SERVING)
        for name in MET_WHILE_SERVING:
            (local_dir / "made" / name).rename(models / name)
        hostile = [request(n, model=name) for n, name in enumerate(MET_WHILE_SERVING)]
        run_millrace(["send", "--data", data], input=lines(hostile))
        sent = 0

        def met():
            """Sends a few more requests of the good model; whether all others were looked at."""
            nonlocal sent
            some = [request(1000 + sent + n) for n in range(50)]
            run_millrace(["send", "--data", data], input=lines(some))
            sent += len(some)
            wait_until(lambda: outcomes(running) >= sent, timeout=20)
            log = running.log.read_text()
            return all(f"{name}:1" in log or f"model={name}" in log for name in MET_WHILE_SERVING)

        wait_until(met, timeout=60, every=0.5, what="a look at every hostile model")
        assert running.process.poll() is None
        wait_until(lambda: outcomes(running) == sent + len(hostile), timeout=60)
        wait_until(lambda: not children(running.pid), timeout=20)
        assert rss_mib(running.pid) < before + 64
        assert running.stop() == 0
    answered = {one["request_id"]: one["output"] for one in results(run_millrace, data)}
    assert answered == {f"r-{n}": expected_output(n) for n in range(1000, 1000 + sent)}
    letters = dead_letters(run_millrace, data)
    assert {letter["reason"] for letter in letters} == {"unknown_model"}
    assert len(letters) == len(hostile)
    assert verify(run_millrace, data)[0] == 0
