"""Exactly one outcome for each request, whoever is killed or frozen meanwhile, worker or broker."""

import contextlib
import time

import pytest

from waiting import wait_until
from workload import (EAGER, GROWING_UNITS, PROTOCOLS, SHORT_SESSION, SMALL_UNITS, Load, Progress,
                      assigned, dice, events, outcomes, settled, verdict, verify, wait_event,
                      wait_outcomes)

KILLS = 10
POISON_EVERY = 199
BUSY = 50_000  # So many requests keep a transaction open at most times.
PARTITIONS = 4


class Crew:
    """Workers that are replaced as soon as they are killed."""

    def __init__(self, stack, start):
        self._stack = stack
        self._start = start
        self.members = []

    def hire(self):
        self.members.append(self._stack.enter_context(self._start()))
        return self.members[-1]

    def kill(self, worker):
        worker.kill()
        self.members.remove(worker)

    def stop(self):
        for worker in self.members:
            assert worker.stop() == 0


def finish(cluster, topics, load, progress, run_millrace):
    """The verdict, once everything was published and nothing is left to do."""
    report = verdict(cluster, topics, requests=load.count, poisoned=load.poisoned)
    settled(cluster, topics)
    verify(run_millrace, cluster, topics)
    assert progress.idle()
    # Under a light load (--small) ten kills may all come between two transactions.
    if load.count >= BUSY:
        assert report.aborted_results > 0, "no transaction was cut off: the kills came at no moment"
    return report


@pytest.mark.parametrize("protocol", [
    pytest.param("classic", marks=pytest.mark.sanitizers), "consumer"])
def test_one_outcome_each_after_ten_kills(protocol, kafka, topics, serve, run_millrace,
                                          requests_in_all):
    """kill -9 ten times at random moments of the work, while requests go on coming."""
    random = dice()
    if protocol == "consumer":
        kafka.set_group(topics.group, session_ms=2000, heartbeat_ms=300)
    progress = Progress(kafka, topics)
    settings = [*PROTOCOLS[protocol], *(SMALL_UNITS if protocol == "classic" else GROWING_UNITS)]
    with Load(kafka, topics, requests_in_all, 30, poison_every=POISON_EVERY) as load:
        for _ in range(KILLS):
            with serve(kafka, topics, *settings) as worker:
                wait_outcomes(worker)
                time.sleep(random.uniform(0.0, 0.4))
                worker.kill()
    with serve(kafka, topics, *settings) as worker:
        progress.wait_idle()
        assert worker.stop() == 0
    finish(kafka, topics, load, progress, run_millrace)


def test_one_outcome_each_when_frozen_workers_come_back(kafka, topics, serve, run_millrace,
                                                        requests_in_all):
    """A worker that stands still past its session is replaced; back again, it commits nothing of
    what it held. Ten kills come on top."""
    random = dice()
    progress = Progress(kafka, topics)
    # Longer than the pauses of a busy machine; the freezes wait it out.
    session = ["-X", "session.timeout.ms=4000", "-X", "heartbeat.interval.ms=500",
               "-s", "delivery.transaction_timeout=3s"]
    with contextlib.ExitStack() as stack:
        crew = Crew(stack, lambda: serve(kafka, topics, *session, *GROWING_UNITS))
        load = stack.enter_context(Load(kafka, topics, requests_in_all, 45,
                                        poison_every=POISON_EVERY))
        crew.hire()
        crew.hire()
        for kill in range(KILLS):
            victim, other = random.sample(crew.members, 2)
            wait_until(lambda: assigned(victim) > 0 and outcomes(victim) > 0, every=0.01)
            time.sleep(random.uniform(0.0, 0.3))
            if kill % 3 == 1:
                freeze(victim, other)
            crew.kill(victim)
            crew.hire()
        load.join()
        progress.wait_idle()
        crew.stop()
    finish(kafka, topics, load, progress, run_millrace)


def freeze(victim, other):
    """SIGSTOP until the other has everything and works on it, then SIGCONT."""
    lost = events(victim, "partitions_lost")
    victim.pause()
    wait_until(lambda: assigned(other) == PARTITIONS, what="the other worker's taking over")
    wait_outcomes(other, more=100)
    victim.resume()
    wait_event(victim, "partitions_lost", lost + 1)
    wait_until(lambda: assigned(victim) > 0, what="the frozen worker's coming back")


def test_one_outcome_each_when_the_broker_restarts(own_kafka, make_topics, serve, run_millrace,
                                                   requests_in_all):
    """The broker is killed three times under the load, the worker ten times."""
    random = dice()
    topics = make_topics(own_kafka)
    progress = Progress(own_kafka, topics)
    settings = [*SHORT_SESSION, *SMALL_UNITS, *EAGER]
    with contextlib.ExitStack() as stack:
        crew = Crew(stack, lambda: serve(own_kafka, topics, *settings))
        load = stack.enter_context(Load(own_kafka, topics, requests_in_all, 40,
                                        poison_every=POISON_EVERY))
        worker = crew.hire()
        for kill in range(KILLS):
            wait_outcomes(worker)
            time.sleep(random.uniform(0.0, 0.4))
            if kill % 4 == 0:
                own_kafka.kill()
                own_kafka.restart()
                wait_outcomes(worker)
                time.sleep(random.uniform(0.0, 0.4))
            crew.kill(worker)
            worker = crew.hire()
        load.join()
        progress.wait_idle()
        crew.stop()
    finish(own_kafka, topics, load, progress, run_millrace)
