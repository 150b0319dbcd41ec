"""`serve --supervise` on Kafka: a worker that crashed is the same member of its group again."""

import contextlib
import os
import pathlib
import re
import signal
import time

import pytest

from publish import CRASH, CRASH_VALUE, publish, request
from waiting import wait_until
from workload import (SHORT_SESSION, Load, Progress, assigned, events, metric, outcomes, settled,
                      verdict, verify, wait_event, wait_outcomes)

COUNT = 4_000
CRASHING = {1000, 1001, 3333}
# The session of a member that died is 20 s, unless it is told otherwise: nobody waited for it.
SOON = 10.0
HANDED_OVER = 10.0


@pytest.fixture
def models(models):
    """The models of the others, and one that ends the process."""
    (models / CRASH / "1").mkdir(parents=True)
    (models / CRASH / "1" / "model.test").write_text(f"elements=4\ncrash_value={CRASH_VALUE}\n")
    return models


def in_the_crashing_model(number, tenants=7):
    poisoned = {"input": [CRASH_VALUE, 0, 0, 0]} if number in CRASHING else {}
    return request(number, tenants, model_id=CRASH, **poisoned)


def child_of(worker):
    return int(pathlib.Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text())


def test_requests_that_crash_the_worker_are_dead_letters_and_nothing_else_is(
        kafka, topics, serve, run_millrace):
    publish(kafka, topics.requests, COUNT, make=in_the_crashing_model)
    progress = Progress(kafka, topics)
    with serve(kafka, topics, "--supervise", ready=False) as supervisor:
        started = time.monotonic()
        progress.wait_idle()
        restarts = metric(supervisor, "millrace_worker_restarts_total")
        print(f"{restarts:.0f} restarts, idle after {time.monotonic() - started:.1f} s")
        assert len(CRASHING) < restarts <= 2 * len(CRASHING)
        assert supervisor.stop() == 0
    verdict(kafka, topics, requests=COUNT, poisoned={n: "model_crash" for n in CRASHING})
    settled(kafka, topics)
    verify(run_millrace, kafka, topics)


def test_crashed_worker_has_its_partitions_back_at_once(kafka, topics, serve, run_millrace):
    progress = Progress(kafka, topics)
    with contextlib.ExitStack() as stack:
        load = stack.enter_context(Load(kafka, topics, 15_000, 7))
        supervisor = stack.enter_context(serve(kafka, topics, "--supervise"))
        other = stack.enter_context(serve(kafka, topics, "--supervise"))
        wait_until(lambda: assigned(supervisor) == assigned(other) == 2, what="shares")
        wait_outcomes(supervisor)
        for crash in range(1, 4):
            os.kill(child_of(supervisor), signal.SIGKILL)
            started = time.monotonic()
            wait_event(supervisor, "worker_died", crash)
            supervisor.wait_ready()
            wait_until(lambda: outcomes(supervisor) > 0, every=0.01)
            gap = time.monotonic() - started
            print(f"gap in the outcomes of its partitions: {gap:.2f} s")
            assert gap < SOON
            wait_until(lambda: assigned(supervisor) == 2, what="both of its partitions")
        assert events(other, "partitions_revoked") == 0, "nobody else was disturbed"
        slots = re.findall(r"slot_taken.*transactional_id=(\S+)", supervisor.log.read_text())
        assert len(slots) == 4 and len(set(slots)) == 1, slots
        # A stop is no crash: the other need not wait for the session's end.
        assert supervisor.stop() == 0
        wait_until(lambda: assigned(other) == 4, HANDED_OVER, what="taking over at once")
        load.join()
        progress.wait_idle()
        assert other.stop() == 0
    verdict(kafka, topics, requests=load.count, poisoned={})
    settled(kafka, topics)
    verify(run_millrace, kafka, topics)


def test_member_whose_supervisor_died_is_missed_after_its_session(
        kafka, topics, serve, run_millrace):
    progress = Progress(kafka, topics)
    with contextlib.ExitStack() as stack:
        load = stack.enter_context(Load(kafka, topics, 6_000, 3))
        supervisor = stack.enter_context(serve(kafka, topics, "--supervise", *SHORT_SESSION))
        other = stack.enter_context(serve(kafka, topics, "--supervise", *SHORT_SESSION))
        wait_until(lambda: assigned(supervisor) == assigned(other) == 2, what="shares")
        supervisor.kill()
        wait_until(lambda: assigned(other) == 4, 10, what="taking over after the session")
        load.join()
        progress.wait_idle()
        assert other.stop() == 0
    verdict(kafka, topics, requests=load.count, poisoned={})
    verify(run_millrace, kafka, topics)
