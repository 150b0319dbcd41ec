"""A slow request holds nothing back but its own key, and exactly-once stays what it is."""

import contextlib
import sqlite3

import pytest
from helpers import (SLOW_SECONDS, expected_output, lines, outcomes, pending, request, results,
                     slow_repository, verify)
from waiting import wait_until

FAST = 2_000


@pytest.fixture
def models(local_dir):
    return slow_repository(local_dir / "models")


@pytest.fixture
def log(local_dir, run_millrace):
    """A log whose requests all lie in one partition: a slow one, and many fast ones behind it."""
    data = local_dir / "log"
    run_millrace(["topics", "create", "--data", data, "--partitions-scale", "0.01"])
    slow = request(0, tenant="slow", model="slow", input=[77, 0, 0, 0])
    fast = [request(number) for number in range(1, FAST + 1)]
    run_millrace(["send", "--data", data], input=lines([slow, *fast]))
    return data


def serve_args(log, models):
    return ["--data", log, "--models", models, "-s", "models.linear.version=1",
            "-s", "executor.threads=2"]


def answered(run_millrace, log):
    return {result["request_id"]: result["output"] for result in results(run_millrace, log)}


def test_outcomes_behind_a_slow_request_come_before_it(run_millrace, worker, log, models):
    with worker(*serve_args(log, models)) as running:
        wait_until(lambda: outcomes(running) >= FAST, timeout=SLOW_SECONDS, every=0.01)
        assert pending(run_millrace, log) == FAST + 1, "the position cannot pass the slow request"
        early = answered(run_millrace, log)
        assert "r-0" not in early and len(early) == FAST
        status, report = verify(run_millrace, log)
        assert status == 0 and report["requests"] == FAST, report
        wait_until(lambda: pending(run_millrace, log) == 0)
        assert running.stop() == 0
    outputs = answered(run_millrace, log)
    assert len(outputs) == FAST + 1
    for number in range(1, FAST + 1):
        assert outputs[f"r-{number}"] == expected_output(number)
    status, report = verify(run_millrace, log)
    assert status == 0 and report["requests"] == FAST + 1, report


def test_one_outcome_each_after_a_kill_with_a_request_still_in_the_way(
        run_millrace, worker, log, models):
    with worker(*serve_args(log, models)) as running:
        wait_until(lambda: outcomes(running) >= FAST // 2, timeout=SLOW_SECONDS, every=0.002)
        running.kill()
    before = answered(run_millrace, log)
    assert "r-0" not in before and len(before) >= FAST // 2
    assert verify(run_millrace, log)[0] == 0
    with worker(*serve_args(log, models)) as running:
        wait_until(lambda: pending(run_millrace, log) == 0)
        # What was answered before the kill was not run again. It counts after it has committed.
        wait_until(lambda: outcomes(running) >= FAST + 1 - len(before))
        assert outcomes(running) == FAST + 1 - len(before)
        assert running.stop() == 0
    status, report = verify(run_millrace, log)
    assert status == 0 and report["results"] == FAST + 1, report


def test_note_that_cannot_be_read_stops_the_worker_and_says_where(
        run_millrace, worker, log, models):
    with worker(*serve_args(log, models)) as running:
        wait_until(lambda: outcomes(running) >= FAST, timeout=SLOW_SECONDS, every=0.002)
        running.kill()
    with contextlib.closing(sqlite3.connect(log / "log.db")) as database, database:
        database.execute("UPDATE committed SET note = 'mr9:' WHERE note <> ''")
    done = run_millrace(["serve", *serve_args(log, models)], check=False)
    assert done.returncode == 1
    assert "partition 0" in done.stderr and "later version" in done.stderr
    done = run_millrace(["verify", "--data", log, "-o", "json"], check=False)
    assert done.returncode == 1 and "partition 0" in done.stderr
