"""delivery.mode=at-most-once on the embedded log: no request is ever answered twice, none is lost
without a crash, and a crash loses what had been claimed and not answered."""

import random
import threading
import time

import pytest
from helpers import (SLOW_SECONDS, expected_output, lines, outcomes, pending, request, results,
                     slow_repository, verify)
from waiting import wait_until

COUNT = 3_000
POLL = 1_024  # Records that are claimed at a time, at most.
CRASHED = 86


@pytest.fixture
def models(local_dir):
    return slow_repository(local_dir / "models")


@pytest.fixture
def log(local_dir):
    return local_dir / "log"


@pytest.fixture
def serve_args(log, models):
    def args(mode="at-most-once"):
        return ["--data", log, "--models", models, "-s", "models.linear.version=1",
                "-s", f"delivery.mode={mode}"]

    return args


def create(run_millrace, log, scale="0.1"):
    run_millrace(["topics", "create", "--data", log, "--partitions-scale", scale])


def send(run_millrace, log, count, first=0):
    run_millrace(["send", "--data", log],
                 input=lines(request(i) for i in range(first, first + count)))


def missing_after(run_millrace, log, count):
    """How many of `count` requests have no outcome, by `verify` and by the results themselves; all
    others have one, the right one."""
    status, report = verify(run_millrace, log)
    assert report["requests"] == count
    faults = {name: report[name] for name in (
        "duplicated", "orphaned", "order_violations", "open_transactions") if report[name]}
    assert not faults, report
    answered = results(run_millrace, log)
    assert len({result["request_id"] for result in answered}) == len(answered)
    for result in answered:
        number = int(result["request_id"].removeprefix("r-"))
        assert result["output"] == expected_output(number)
    assert report["missing"] == count - len(answered)
    assert (status, report["ok"]) == ((5, False) if report["missing"] else (0, True)), report
    return report["missing"]


def test_one_outcome_each_without_a_crash(run_millrace, worker, log, serve_args):
    create(run_millrace, log)
    for round in range(4):
        send(run_millrace, log, COUNT, first=round * COUNT)
        with worker(*serve_args()) as running:
            wait_until(lambda: outcomes(running) > 0, every=0.005)
            assert running.stop() == 0  # With whatever was claimed by then.
            assert "delivery.mode is at-most-once" in running.log.read_text()
    with worker(*serve_args()) as running:
        wait_until(lambda: pending(run_millrace, log) == 0)
        assert running.stop() == 0
    assert missing_after(run_millrace, log, 4 * COUNT) == 0


# What each point may cost: nothing before the claim, then what was claimed.
@pytest.mark.parametrize("point, some_missing", [
    ("after_poll", False), ("claimed", True), ("after_decode", True), ("before_run", True),
    ("after_run", True), ("unit_sealed", True), ("mid_produce", True), ("before_commit", True)])
def test_crash_costs_what_was_claimed(point, some_missing, run_millrace, worker, log, serve_args,
                                      millrace_test):
    create(run_millrace, log)
    send(run_millrace, log, COUNT)
    with worker(*serve_args(), binary=millrace_test, ready=False,
                env={"MILLRACE_CRASH_POINT": point}) as running:
        assert running.process.wait(60) == CRASHED, "the crash point did not fire"
    left = pending(run_millrace, log)
    claimed = COUNT - left
    assert (claimed > 0) == some_missing
    with worker(*serve_args()) as running:
        wait_until(lambda: pending(run_millrace, log) == 0)
        assert running.stop() == 0
    # The crash came before any outcome was written.
    assert missing_after(run_millrace, log, COUNT) == claimed


def test_crash_after_the_first_outcomes_keeps_them(run_millrace, worker, log, serve_args,
                                                   millrace_test):
    create(run_millrace, log)
    send(run_millrace, log, COUNT)
    with worker(*serve_args(), binary=millrace_test, ready=False,
                env={"MILLRACE_CRASH_POINT": "after_commit"}) as running:
        assert running.process.wait(60) == CRASHED
    before = len(results(run_millrace, log))
    claimed = COUNT - pending(run_millrace, log)
    assert 0 < before <= claimed
    with worker(*serve_args()) as running:
        wait_until(lambda: pending(run_millrace, log) == 0)
        assert running.stop() == 0
    assert missing_after(run_millrace, log, COUNT) == claimed - before


def test_no_second_outcome_after_ten_kills(run_millrace, worker, log, serve_args, pytestconfig):
    """kill -9 ten times, at random moments of the work, while requests go on coming."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    count = 5_000 if pytestconfig.getoption("--small") else 40_000
    create(run_millrace, log, "0.25")
    body = lines(request(i) for i in range(count))
    sender = threading.Thread(target=lambda: run_millrace(
        ["send", "--data", log, "--rate", str(count // 8)], input=body, timeout=300))
    sender.start()
    for _ in range(10):
        with worker(*serve_args()) as running:
            wait_until(lambda: outcomes(running) > 0 or not sender.is_alive(), every=0.01)
            time.sleep(dice.uniform(0.0, 0.3))
            running.kill()
    sender.join()
    with worker(*serve_args()) as running:
        wait_until(lambda: pending(run_millrace, log) == 0)
        assert running.stop() == 0
    missing = missing_after(run_millrace, log, count)
    print(f"{missing} of {count} without an outcome")
    assert missing <= 10 * (32_768 + POLL)


def test_what_another_mode_noted_is_not_run_again(run_millrace, worker, log, serve_args,
                                                  millrace_test):
    """An exactly-once worker answers what is behind a slow request and is killed; its successor at
    most once claims the slow one, keeps the others' outcomes, and dies before it runs it."""
    fast = 2_000
    create(run_millrace, log, "0.01")
    slow = request(0, tenant="slow", model="slow", input=[77, 0, 0, 0])
    run_millrace(["send", "--data", log],
                 input=lines([slow, *(request(number) for number in range(1, fast + 1))]))
    with worker(*serve_args("exactly-once"), "-s", "executor.threads=2") as running:
        wait_until(lambda: outcomes(running) >= fast, timeout=SLOW_SECONDS, every=0.002)
        running.kill()
    with worker(*serve_args(), binary=millrace_test, ready=False,
                env={"MILLRACE_CRASH_POINT": "claimed"}) as running:
        assert running.process.wait(60) == CRASHED
    with worker(*serve_args()) as running:
        wait_until(lambda: pending(run_millrace, log) == 0)
        assert running.stop() == 0
    status, report = verify(run_millrace, log)
    assert (status, report["missing"], report["duplicated"], report["results"]) == (5, 1, 0, fast)
    (example,) = report["examples"]["missing"]
    assert example["where"].endswith(":0:0"), report


def test_local_log_does_not_offer_at_least_once(run_millrace, log, serve_args):
    create(run_millrace, log)
    done = run_millrace(["serve", *serve_args("at-least-once")], check=False)
    assert done.returncode == 3 and "exactly-once costs nothing more" in done.stderr
