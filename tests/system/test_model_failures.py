"""What fails in a run hurts nobody else: poisonous rows, models out of order, endless runs."""

import json
import pathlib
import shutil
import urllib.request

import pytest
from helpers import dead_letters, expected_output, lines, outcomes, request, results, verify
from waiting import wait_until

MODELS = pathlib.Path(__file__).resolve().parent.parent / "models"


@pytest.fixture
def models(local_dir):
    """`linear` and `gather` of ONNX, and `flaky`, which fails while the file `fault` is there."""
    repository = local_dir / "models"
    for name in ("linear", "gather"):
        shutil.copytree(MODELS / name, repository / name)
    (repository / "flaky" / "1").mkdir(parents=True)
    (repository / "flaky" / "1" / "model.test").write_text(
        f"elements=4\nfail_file={local_dir}/fault\nhang_value=-1\n")
    return repository


@pytest.fixture
def log(local_dir, run_millrace):
    data = local_dir / "log"
    run_millrace(["topics", "create", "--data", data, "--partitions-scale", "0.01"])
    return data


def serve_args(log, models, *settings):
    args = ["--data", log, "--models", models, "-s", "models.linear.version=1"]
    for setting in settings:
        args += ["-s", setting]
    return args


def status_of(worker, model):
    with urllib.request.urlopen(f"http://127.0.0.1:{worker.port}/api/v1/status") as answer:
        return next(m["state"] for m in json.load(answer)["models"] if m["id"] == model)


def test_three_poisonous_rows_of_sixty_four(run_millrace, worker, log, models):
    bodies = [request(n, model="gather", input=[99 if n in (5, 6, 50) else n % 4])
              for n in range(64)]
    run_millrace(["send", "--data", log], input=lines(bodies))
    with worker(*serve_args(log, models, "executor.threads=1", "batch.adaptive=false")) as running:
        wait_until(lambda: outcomes(running) == 64)
        metrics = running.metrics()
        assert running.stop() == 0
    answered = results(run_millrace, log)
    assert len(answered) == 61
    letters = dead_letters(run_millrace, log)
    assert sorted(letter["request_id"] for letter in letters) == ["r-5", "r-50", "r-6"]
    assert {letter["reason"] for letter in letters} == {"inference_error"}
    runs = metrics['millrace_model_runs_total{model="gather"}']
    assert 3 < runs <= 2 * 3 * 6 + 1
    status, report = verify(run_millrace, log)
    assert status == 0, report


def test_a_model_out_of_order_waits_and_the_others_do_not(
        run_millrace, worker, log, models, local_dir):
    with worker(*serve_args(log, models)) as running:
        (local_dir / "fault").touch()
        bodies = [request(n, model="flaky" if n % 2 else "linear") for n in range(400)]
        run_millrace(["send", "--data", log], input=lines(bodies))
        wait_until(lambda: outcomes(running) == 200)
        wait_until(lambda: status_of(running, "flaky") == "paused")
        state = 'millrace_model_state{model="flaky",version="1",state="failed"}'
        assert running.metrics()[state] == 1
        assert status_of(running, "linear") == "serving"
        answered = {result["request_id"]: result["output"] for result in results(run_millrace, log)}
        assert answered == {f"r-{n}": expected_output(n) for n in range(0, 400, 2)}
        (local_dir / "fault").unlink()
        wait_until(lambda: outcomes(running) == 400)
        assert running.metrics()[state] == 0
        assert running.stop() == 0
    assert dead_letters(run_millrace, log) == [], "an outage is no reason for a dead letter"
    status, report = verify(run_millrace, log)
    assert status == 0 and report["results"] == 400, report


def test_a_run_without_end_is_stopped(run_millrace, worker, log, models):
    bodies = [request(n, model="flaky", input=[-1 if n == 7 else n, 0, 0, 0]) for n in range(20)]
    run_millrace(["send", "--data", log], input=lines(bodies))
    with worker(*serve_args(log, models, "models.flaky.timeout=100ms")) as running:
        wait_until(lambda: outcomes(running) == 20)
        assert running.stop() == 0
    (letter,) = dead_letters(run_millrace, log)
    assert (letter["request_id"], letter["reason"]) == ("r-7", "inference_timeout")
    assert "after 100 ms (models.flaky.timeout)" in letter["detail"]
    status, report = verify(run_millrace, log)
    assert status == 0 and report["results"] == 19, report


def test_a_model_that_comes_late_answers_what_waited_for_it(
        run_millrace, worker, log, models, local_dir):
    late = local_dir / "late"
    (models / "flaky").rename(late)
    with worker(*serve_args(log, models, "repository.allow_missing_for=60s")) as running:
        bodies = [request(n, model="flaky" if n % 2 else "linear") for n in range(200)]
        run_millrace(["send", "--data", log], input=lines(bodies))
        wait_until(lambda: outcomes(running) == 100)
        answered = {result["request_id"]: result["output"] for result in results(run_millrace, log)}
        assert answered == {f"r-{n}": expected_output(n) for n in range(0, 200, 2)}
        late.rename(models / "flaky")
        wait_until(lambda: outcomes(running) == 200)
        assert status_of(running, "flaky") == "serving"
        assert running.stop() == 0
    assert dead_letters(run_millrace, log) == []
    status, report = verify(run_millrace, log)
    assert status == 0 and report["results"] == 200, report


def test_a_model_that_never_comes_makes_dead_letters_after_its_time(
        run_millrace, worker, log, models):
    with worker(*serve_args(log, models, "repository.allow_missing_for=8s")) as running:
        run_millrace(["send", "--data", log], input=lines(
            request(n, model="nobody" if n % 2 else "linear") for n in range(100)))
        wait_until(lambda: outcomes(running) == 50)
        assert dead_letters(run_millrace, log) == []
        wait_until(lambda: outcomes(running) == 100)
        assert running.stop() == 0
    letters = dead_letters(run_millrace, log)
    assert {letter["reason"] for letter in letters} == {"unknown_model"} and len(letters) == 50
    assert "had not come after 8000 ms" in letters[0]["detail"]


def test_whoever_waits_for_a_model_does_not_hold_up_the_end(run_millrace, worker, log, models):
    with worker(*serve_args(log, models, "repository.allow_missing_for=1h")) as running:
        run_millrace(["send", "--data", log], input=lines(
            request(n, model="nobody" if n % 2 else "linear") for n in range(100)))
        wait_until(lambda: outcomes(running) == 50)
        assert running.stop() == 0
        assert "drain_incomplete" not in running.log.read_text()
    with worker(*serve_args(log, models)) as running:
        wait_until(lambda: outcomes(running) == 50)
        assert running.stop() == 0
    status, report = verify(run_millrace, log)
    assert status == 0 and (report["results"], report["dead_letters"]) == (50, 50), report
