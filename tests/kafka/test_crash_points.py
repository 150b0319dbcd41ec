"""Exactly one outcome for each request after a crash at each named point of a transaction's life.

MILLRACE_CRASH_POINT=name:n ends build/millrace-test at the n-th time it comes there.
"""

import contextlib
import re

import pytest

from cluster import ROOT, KafkaCluster
from publish import first_is_slow, publish
from test_outages import set_topic
from waiting import wait_until
from workload import (EAGER, GROWING_UNITS, SMALL_UNITS, Load, Progress, assigned, verdict, verify,
                      wait_at_work)

COUNT = 3_000
CRASHED = 86
SETTINGS = ["-X", "session.timeout.ms=1500", "-X", "heartbeat.interval.ms=300",
            "-s", "delivery.transaction_timeout=1s", *SMALL_UNITS, *EAGER]
# Longer than the pauses of a busy machine, where a worker is not to crash before its time.
PATIENT = ["-X", "session.timeout.ms=4000", "-X", "heartbeat.interval.ms=500",
           "-s", "delivery.transaction_timeout=3s"]

# In each transaction; at the third one, so that there are commits before it.
IN_A_TRANSACTION = {"first_produced", "all_produced", "before_send_offsets", "before_end_txn",
                    "end_txn_sent"}
OTHERS = {"unit_staged", "partitions_assigned", "partitions_revoked", "partitions_lost",
          "before_abort", "after_abort", "before_recreate", "after_recreate"}


@pytest.fixture
def stack():
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def crash(serve, millrace_test):
    """`with crash(cluster, topics, point) as w:` runs a worker that is to crash there."""
    @contextlib.contextmanager
    def start(cluster, topics, point, *settings, **keywords):
        with serve(cluster, topics, *SETTINGS, *settings, binary=millrace_test,
                   env={"MILLRACE_CRASH_POINT": point}, **keywords) as worker:
            yield worker
            assert worker.process.wait(30) == CRASHED, "the crash point did not fire"

    return start


@pytest.fixture
def finish(serve, run_millrace):
    """finish(cluster, topics, count=COUNT): another worker does the rest; then the verdict."""

    def do(cluster, topics, count=COUNT):
        progress = Progress(cluster, topics)
        with serve(cluster, topics, *SETTINGS) as worker:
            progress.wait_idle()
            assert worker.stop() == 0
        verdict(cluster, topics, requests=count, poisoned={})
        verify(run_millrace, cluster, topics)
        assert progress.idle()

    return do


def test_every_crash_point_of_kafka_has_its_test():
    text = (ROOT / "src/base/crash_point.cc").read_text()
    listed = text.split("// Of Kafka.")[1].split("}")[0]
    assert set(re.findall(r'"(\w+)"', listed)) == IN_A_TRANSACTION | OTHERS


@pytest.mark.parametrize("point", sorted(IN_A_TRANSACTION))
def test_one_outcome_each_after_a_crash_in_a_transaction(point, kafka, topics, crash, finish):
    publish(kafka, topics.requests, COUNT)
    with crash(kafka, topics, f"{point}:3", ready=False):
        pass
    finish(kafka, topics)


def test_one_outcome_each_after_a_crash_with_a_part_of_a_unit_written(
        kafka, topics, crash, finish):
    # A unit that waits for one request is written as far as it goes.
    publish(kafka, topics.requests, COUNT, make=first_is_slow)
    with crash(kafka, topics, "unit_staged", *GROWING_UNITS, ready=False):
        pass
    finish(kafka, topics)


def test_one_outcome_each_after_a_crash_while_joining(kafka, topics, crash, finish):
    publish(kafka, topics.requests, COUNT)
    with crash(kafka, topics, "partitions_assigned", ready=False):
        pass
    finish(kafka, topics)


def test_one_outcome_each_after_a_crash_while_handing_over(kafka, topics, serve, crash, finish):
    publish(kafka, topics.requests, COUNT)
    with crash(kafka, topics, "partitions_revoked") as worker:
        with serve(kafka, topics, *SETTINGS):
            assert worker.process.wait(30) == CRASHED
    finish(kafka, topics)


def test_one_outcome_each_after_a_crash_while_losing_partitions(kafka, topics, serve, crash,
                                                                finish):
    """A frozen worker comes back, hears that its partitions have gone, and crashes."""
    with crash(kafka, topics, "partitions_lost", *PATIENT) as worker:
        publish(kafka, topics.requests, COUNT)
        wait_at_work(worker)
        worker.pause()
        publish(kafka, topics.requests, COUNT, first=COUNT)
        with serve(kafka, topics, *SETTINGS) as other:
            wait_until(lambda: assigned(other) == 4, what="the other's taking over")
            wait_at_work(other)
            worker.resume()
            assert worker.process.wait(30) == CRASHED
    finish(kafka, topics, 2 * COUNT)


@pytest.mark.parametrize("point", ["before_abort", "after_abort"])
def test_one_outcome_each_after_a_crash_while_aborting(point, kafka, topics, crash, finish):
    """The results' topic refuses a record, so the transaction has to be aborted."""
    with crash(kafka, topics, point, *PATIENT) as worker:
        publish(kafka, topics.requests, COUNT)
        wait_at_work(worker)
        set_topic(kafka, topics.results, max_message_bytes="100")
        publish(kafka, topics.requests, COUNT, first=COUNT)
    set_topic(kafka, topics.results, max_message_bytes="1048588")
    finish(kafka, topics, 2 * COUNT)


@pytest.fixture(scope="module")
def silent_kafka(tmp_path_factory):
    """A broker that these tests share and may pause."""
    cluster = KafkaCluster(tmp_path_factory.mktemp("silent"))
    try:
        yield cluster.start()
    finally:
        cluster.kill()


@pytest.mark.parametrize("point", ["before_recreate", "after_recreate"])
def test_one_outcome_each_after_a_crash_while_the_producer_is_made_anew(
        point, silent_kafka, make_topics, crash, finish, stack):
    """The broker falls silent for longer than a transaction may take, and answers late."""
    topics = make_topics(silent_kafka)
    load = stack.enter_context(Load(silent_kafka, topics, 20_000, 8))
    with crash(silent_kafka, topics, point, *PATIENT) as worker:
        wait_at_work(worker)
        silent_kafka.pause()
        try:
            if point == "before_recreate":
                worker.process.wait(30)
            else:
                wait_until(lambda: "commit_failed" in worker.log.read_text(), 30)
        finally:
            silent_kafka.resume()
    load.join()
    finish(silent_kafka, topics, load.count)
