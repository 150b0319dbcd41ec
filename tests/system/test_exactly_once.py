"""Exactly one outcome for each request, whatever happens to the worker."""

import os
import pathlib
import random
import signal
import subprocess
import threading
import time

import pytest
from helpers import (dead_letters, expected_output, lines, outcomes, pending, request, results,
                     verify)
from waiting import wait_until

MODELS = pathlib.Path(__file__).resolve().parent.parent / "models"
KILL_REQUESTS = 100_000
KILLS = 10


@pytest.fixture
def models(local_dir):
    """A repository with the models these tests use; the others there are broken on purpose."""
    repository = local_dir / "models"
    repository.mkdir()
    for name in ("linear", "gather"):  # Copied: a link may not lead out of a repository.
        subprocess.run(["cp", "-r", MODELS / name, repository / name], check=True)
    return repository


@pytest.fixture
def log(local_dir):
    return local_dir / "log"


def serve_args(log, models, *extra):
    return ["--data", log, "--models", models, "-s", "models.linear.version=1", *extra]


def assert_all_answered_right(run_millrace, log, count):
    status, report = verify(run_millrace, log)
    assert report["requests"] == count
    assert report["ok"] and status == 0, report
    seen = {}
    for result in results(run_millrace, log):
        number = int(result["request_id"].removeprefix("r-"))
        assert number not in seen, f"two results for r-{number}"
        seen[number] = result["output"]
    for number, output in seen.items():
        assert output == expected_output(number)
    return seen


@pytest.mark.sanitizers
def test_one_outcome_each_after_ten_kills(run_millrace, worker, log, models, pytestconfig):
    """kill -9 ten times, at random moments of the work, while requests go on coming."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    count = KILL_REQUESTS if not pytestconfig.getoption("--small") else KILL_REQUESTS // 20
    run_millrace(["topics", "create", "--data", log, "--partitions-scale", "0.25"])
    body = lines(request(i) for i in range(count))
    sender = threading.Thread(
        target=lambda: run_millrace(["send", "--data", log, "--rate", str(count // 10)], input=body,
                                    timeout=300))
    sender.start()
    kills_in_the_middle = 0
    for _ in range(KILLS):
        with worker(*serve_args(log, models)) as running:
            wait_until(lambda: outcomes(running) > 0 or not sender.is_alive(), every=0.01)
            time.sleep(dice.uniform(0.0, 0.5))
            running.kill()
        kills_in_the_middle += pending(run_millrace, log) > 0
    sender.join()
    with worker(*serve_args(log, models)) as running:
        wait_until(lambda: pending(run_millrace, log) == 0, timeout=300)
        assert running.stop() == 0
    assert kills_in_the_middle > 0, "every kill came when nothing was in progress"
    assert len(assert_all_answered_right(run_millrace, log, count)) == count


CRASH_POINTS = ["after_poll", "after_decode", "batch_formed", "before_run", "after_run",
                "after_encode", "unit_sealed", "mid_produce", "before_commit", "after_commit"]


@pytest.mark.parametrize("point", CRASH_POINTS)
def test_one_outcome_each_after_a_crash_at(point, run_millrace, worker, log, models, millrace_test):
    count = 3000
    run_millrace(["topics", "create", "--data", log, "--partitions-scale", "0.1"])
    run_millrace(["send", "--data", log], input=lines(request(i) for i in range(count)))
    with worker(*serve_args(log, models), binary=millrace_test, ready=False,
                env={"MILLRACE_CRASH_POINT": point}) as running:
        assert running.process.wait(60) == 86, "the crash point did not fire"
    with worker(*serve_args(log, models)) as running:
        wait_until(lambda: pending(run_millrace, log) == 0)
    assert len(assert_all_answered_right(run_millrace, log, count)) == count


@pytest.mark.parametrize("point", ["shutdown_begin", "shutdown_drained"])
def test_one_outcome_each_after_a_crash_while_stopping(point, run_millrace, worker, log, models,
                                                       millrace_test):
    count = 3000
    run_millrace(["send", "--data", log], input=lines(request(i) for i in range(count)))
    with worker(*serve_args(log, models), binary=millrace_test,
                env={"MILLRACE_CRASH_POINT": point}) as running:
        assert running.stop() == 86
    with worker(*serve_args(log, models)):
        wait_until(lambda: pending(run_millrace, log) == 0)
    assert_all_answered_right(run_millrace, log, count)


def test_sigterm_under_load_commits_what_was_read_and_leaves(run_millrace, worker, log, models):
    count = 60_000
    run_millrace(["send", "--data", log], input=lines(request(i) for i in range(count)))
    stops = 0
    while pending(run_millrace, log) > 0:
        assert stops < 50, "the worker makes no progress between stops"
        with worker(*serve_args(log, models)) as running:
            wait_until(lambda: outcomes(running) > 0, every=0.005)
            assert running.stop() == 0
        stops += 1
        assert verify(run_millrace, log)[1]["ok"]
    assert_all_answered_right(run_millrace, log, count)


def test_second_signal_leaves_at_once(run_millrace, worker, log, models, local_dir):
    """A run that never ends would hold the drain; the second signal does not wait for it."""
    slow = models / "slow" / "1"
    slow.mkdir(parents=True)
    (slow / "model.test").write_text("elements=4\noutputs=1\nhang_value=7\n")
    run_millrace(["send", "--data", log], input=lines(
        [request(0, model="slow", input=[7, 0, 0, 0])]))
    with worker(*serve_args(log, models)) as running:
        wait_until(lambda: running.metrics()["millrace_in_flight_records"] == 1)
        running.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "stop requested" in running.log.read_text())
        assert running.process.poll() is None
        assert running.stop() == 128 + signal.SIGTERM
    assert pending(run_millrace, log) == 1, "what was not answered stays for the next worker"


def test_bad_rows_fail_alone_and_keep_their_bytes(run_millrace, worker, log, models):
    """63 good rows do not fail for one bad one, in decoding and in the model."""
    bodies, bad = [], {}
    for i in range(5000):
        if i % 500 == 3:
            body = {"request_id": f"r-{i}", "tenant_id": "t", "model_id": "gather", "input": [99]}
            bad[f"r-{i}"] = "inference_error"
        elif i % 500 == 4:
            body = request(i, input=[1, 2])
            bad[f"r-{i}"] = "invalid_shape"
        elif i % 2:
            body = {"request_id": f"r-{i}", "tenant_id": "t", "model_id": "gather",
                    "input": [i % 10]}
        else:
            body = request(i)
        bodies.append(body)
    text = lines(bodies)
    run_millrace(["send", "--data", log], input=text)
    with worker(*serve_args(log, models)):
        wait_until(lambda: pending(run_millrace, log) == 0)
    status, report = verify(run_millrace, log)
    assert status == 0 and report["dead_letters"] == len(bad), report
    assert report["results"] == 5000 - len(bad)
    letters = dead_letters(run_millrace, log)
    assert sorted(letter["reason"] for letter in letters) == sorted(bad.values())
    for result in results(run_millrace, log, "--model", "gather"):
        number = int(result["request_id"].removeprefix("r-"))
        assert result["output"] == [number % 10, 10.0 * (number % 10)]


def test_two_writers_while_one_serves(run_millrace, worker, log, models):
    count = 20_000
    run_millrace(["topics", "create", "--data", log, "--partitions-scale", "0.25"])
    with worker(*serve_args(log, models)):
        senders = [
            threading.Thread(target=lambda part=part: run_millrace(
                ["send", "--data", log], input=lines(request(i) for i in range(part, count, 2))))
            for part in (0, 1)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        wait_until(lambda: pending(run_millrace, log) == 0)
    assert len(assert_all_answered_right(run_millrace, log, count)) == count


def test_lone_request_is_answered_at_once(run_millrace, worker, log, models):
    with worker(*serve_args(log, models)) as running:
        for i in range(5):
            run_millrace(["send", "--data", log], input=lines([request(i)]))
            wait_until(lambda: outcomes(running) == i + 1, every=0.01)
    assert_all_answered_right(run_millrace, log, 5)


def test_second_worker_of_a_group_is_told_whose_it_is(run_millrace, worker, log, models):
    with worker(*serve_args(log, models)) as first:
        second = run_millrace(["serve", *serve_args(log, models), "-s", "http.admin_listen="],
                              check=False)
        assert second.returncode == 1
        assert str(first.pid) in second.stderr and "already has a worker" in second.stderr
        with worker(*serve_args(log, models, "-g", "another")) as other:
            assert other.get("/readyz")[0] == 200


def test_full_disk_pauses_and_loses_nothing(run_millrace, worker, local_dir, models):
    """An outage delays outcomes; it never loses one and never makes a dead letter."""
    disk = local_dir / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", disk],
                             capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"a small disk needs the right to mount one: {mounted.stderr.strip()}")
    try:
        log = disk / "log"
        count = 12_000
        run_millrace(["topics", "create", "--data", log, "--partitions-scale", "0.1"])
        run_millrace(["send", "--data", log], input=lines(request(i) for i in range(count)))
        ballast = disk / "ballast"
        with open(ballast, "wb") as out:
            try:
                while True:
                    out.write(b"\0" * 65536)
                    out.flush()
            except OSError:
                pass
        # Enough for the worker to start, not for all of its outcomes.
        os.truncate(ballast, ballast.stat().st_size - 1_500_000)
        with worker(*serve_args(log, models), ready=False) as running:
            wait_until(lambda: "commit_failed" in running.log.read_text(), timeout=30,
                       what="a commit that fails for want of space")
            assert running.process.poll() is None, "an outage must not end the worker"
            ballast.unlink()
            wait_until(lambda: pending(run_millrace, log) == 0, timeout=60)
            assert running.stop() == 0
        seen = assert_all_answered_right(run_millrace, log, count)
        assert len(seen) == count, "a full disk must not make dead letters"
    finally:
        subprocess.run(["umount", "-l", disk], check=True)
