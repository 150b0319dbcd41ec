"""A broker that is away or silent delays outcomes; it ends no worker and makes no dead letter."""

import contextlib
import time

import pytest
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource

from publish import first_is_slow, publish
from waiting import wait_until
from workload import (EAGER, SHORT_SESSION, SMALL_UNITS, Load, Progress, dice, events, outcomes,
                      settled, verdict, wait_at_work, wait_event, wait_outcomes)

READY_AGAIN = 60.0


@pytest.fixture
def outage(pytestconfig):
    """Seconds that the broker is away."""
    return 60 if pytestconfig.getoption("--full") else 20


def health(worker):
    return {page: worker.get(page)[0] for page in ("/readyz", "/livez")}


def wait_not_ready(worker, timeout):
    wait_until(lambda: health(worker) == {"/readyz": 503, "/livez": 200}, timeout,
               what="/readyz telling of the outage")


@contextlib.contextmanager
def broker_away(cluster, worker, seconds):
    """Kills the broker for so long; the worker says that it is not ready, and lives on."""
    cluster.kill()
    back = time.monotonic() + seconds
    wait_not_ready(worker, seconds)
    yield
    while time.monotonic() < back:
        assert health(worker) == {"/readyz": 503, "/livez": 200}
        assert worker.process.poll() is None
        time.sleep(0.5)
    cluster.restart()
    wait_until(lambda: health(worker)["/readyz"] == 200, READY_AGAIN, what="ready again")


def test_worker_waits_for_a_broker_that_is_away(own_kafka, make_topics, serve, outage):
    """First in the middle of the work, for longer than a session; then with nothing to do."""
    topics = make_topics(own_kafka)
    progress = Progress(own_kafka, topics)
    # One of them takes its time: the work is not done before the outage.
    publish(own_kafka, topics.requests, 30_000, make=first_is_slow)
    with serve(own_kafka, topics, *SHORT_SESSION, *SMALL_UNITS, *EAGER,
               "-s", "executor.threads=2") as worker:
        wait_at_work(worker)
        with broker_away(own_kafka, worker, outage):
            assert outcomes(worker) < 30_000, "the work was done before the outage"
        progress.wait_idle()
        verdict(own_kafka, topics, requests=30_000, poisoned={})
        with broker_away(own_kafka, worker, 5):
            pass
        publish(own_kafka, topics.requests, 1_000, first=30_000)
        progress.wait_idle()
        assert events(worker, "brokers_back") >= 1
        assert worker.stop() == 0
    verdict(own_kafka, topics, requests=31_000, poisoned={})


@pytest.mark.parametrize("session", [2500, 12000], ids=["lost", "kept"])
def test_worker_stops_on_request_while_the_broker_is_away(session, own_kafka, make_topics, serve):
    """Its session over or not, leaving does not wait for the broker and loses nothing."""
    topics = make_topics(own_kafka)
    progress = Progress(own_kafka, topics)
    publish(own_kafka, topics.requests, 20_000, make=first_is_slow)
    with serve(own_kafka, topics, *SMALL_UNITS, "-s", "delivery.drain_timeout=1s",
               "-s", "delivery.transaction_timeout=2s", "-s", "executor.threads=2",
               "-X", f"session.timeout.ms={session}") as worker:
        wait_at_work(worker)
        own_kafka.kill()
        wait_not_ready(worker, 30)
        asked = time.monotonic()
        code = worker.stop()
        print(f"left after {time.monotonic() - asked:.1f} s")
        assert code == 4
        assert events(worker, "drain_incomplete") == 1
    own_kafka.restart()
    assert progress.lag() > 0
    with serve(own_kafka, topics, *SHORT_SESSION, *SMALL_UNITS) as worker:
        progress.wait_idle()
        assert worker.stop() == 0
    verdict(own_kafka, topics, requests=20_000, poisoned={})


def test_answers_of_commits_that_never_came_are_found_out(own_kafka, make_topics, serve):
    """The broker falls silent in the middle of commits, for longer than a request may take, in
    turns with longer than a transaction may: whether they took place only the committed offsets
    tell."""
    random = dice()
    topics = make_topics(own_kafka)
    progress = Progress(own_kafka, topics)
    wanted = ("producer_tainted", "producer_recreated", "outcome_resolved")
    with contextlib.ExitStack() as stack:
        load = stack.enter_context(Load(own_kafka, topics, 40_000, 25))
        worker = stack.enter_context(serve(
            own_kafka, topics, *SMALL_UNITS, *EAGER, "-X", "socket.timeout.ms=1200",
            "-s", "delivery.transaction_timeout=3s", "-X", "session.timeout.ms=4000"))
        rounds = 0
        while rounds < 4 or (rounds < 12 and not all(events(worker, name) for name in wanted)):
            wait_outcomes(worker, more=300)
            time.sleep(random.uniform(0.0, 0.1))
            own_kafka.pause()
            time.sleep(random.uniform(3.2, 4.5) if rounds % 2 else random.uniform(1.6, 2.4))
            own_kafka.resume()
            rounds += 1
        print(f"{rounds} rounds, " + ", ".join(f"{name}: {events(worker, name)}"
                                               for name in wanted))
        assert all(events(worker, name) for name in wanted)
        load.join()
        progress.wait_idle()
        assert worker.stop() == 0
    verdict(own_kafka, topics, requests=load.count, poisoned={})
    settled(own_kafka, topics)


def set_topic(cluster, topic, **config):
    entries = [ConfigEntry(name.replace("_", "."), value,
                           incremental_operation=AlterConfigOpType.SET)
               for name, value in config.items()]
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=entries)
    admin = cluster.admin()
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(30)


def test_outcomes_that_the_topic_refuses_wait_for_somebody_to_mend_it(kafka, topics, serve):
    """A refusal aborts the transaction and pauses the work; it makes no dead letter."""
    progress = Progress(kafka, topics)
    with serve(kafka, topics, *SHORT_SESSION, *EAGER) as worker:
        publish(kafka, topics.requests, 500)
        progress.wait_idle()
        set_topic(kafka, topics.results, max_message_bytes="100")
        publish(kafka, topics.requests, 500, first=500)
        wait_event(worker, "commit_failed", 2)
        assert "MSG_SIZE_TOO_LARGE" in worker.log.read_text()
        assert worker.get("/readyz")[0] == 503 and worker.process.poll() is None
        set_topic(kafka, topics.results, max_message_bytes="1048588")
        progress.wait_idle()
        wait_until(lambda: worker.get("/readyz")[0] == 200, what="ready again")
        assert worker.stop() == 0
    verdict(kafka, topics, requests=1000, poisoned={})
