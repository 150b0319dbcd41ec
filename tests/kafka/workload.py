"""What the tests of the worker on Kafka share: requests that keep coming, how far the group is, and
the verdict at the end.
"""

import collections
import contextlib
import json
import random
import re
import threading

from confluent_kafka import Consumer, KafkaException, TopicPartition

from judge import judge
from publish import expected_output, publish
from waiting import wait_until

# A member that dies is missed soon, and its transaction ends before that.
SHORT_SESSION = ["-X", "session.timeout.ms=2500", "-X", "heartbeat.interval.ms=500",
                 "-s", "delivery.transaction_timeout=2s"]
# Of KIP-848 the broker decides the session: see cluster.set_group().
PROTOCOLS = {
    "classic": SHORT_SESSION,
    "consumer": ["-X", "group.protocol=consumer", "-s", "delivery.transaction_timeout=2s"],
}
# Many transactions, so that whatever happens, happens within one.
SMALL_UNITS = ["-s", "delivery.max_unit_records=256", "-s", "batch.max_rows=32"]
# Units that are written in steps, and stay in the making for a while.
GROWING_UNITS = ["-s", "delivery.max_unit_records=16384", "-s", "delivery.commit_interval=500ms",
                 "-s", "batch.max_rows=32"]
# What dies in its sleep comes back without a pause.
EAGER = ["-s", "retry.max_backoff=1s"]
CLIENT_TIMEOUT = 30.0
LOAD_TIMEOUT = 300.0
PIECES = 20  # Of a load that goes on, for the pauses between looking whether it is enough.


def dice():
    """A random generator whose seed is in the report of a test that fails."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    return random.Random(seed)


def metric(worker, name):
    """The sum of a metric's samples, whatever their labels."""
    return sum(value for sample, value in worker.metrics().items()
               if sample == name or sample.startswith(name + "{"))


def outcomes(worker):
    """Results and dead letters that the worker has committed since it started."""
    return metric(worker, "millrace_records_produced_total")


def assigned(worker):
    return metric(worker, "millrace_assigned_partitions")


def wait_at_work(worker, timeout=60.0):
    """Waits for the first outcome that the worker commits; it may have been long ago."""
    wait_until(lambda: outcomes(worker) > 0, timeout, every=0.01, what="a first outcome")


def wait_outcomes(worker, more=1, timeout=60.0):
    """Waits until the worker has committed `more` outcomes than now: under a load that goes on."""
    start = outcomes(worker)
    wait_until(lambda: outcomes(worker) >= start + more, timeout, every=0.01,
               what=f"{more} more outcomes")


def events(worker, name):
    """How often the worker's log has an event."""
    return len(re.findall(rf"\b{name}\b", worker.log.read_text(errors="replace")))


def wait_event(worker, name, count=1, timeout=60.0):
    wait_until(lambda: events(worker, name) >= count, timeout, what=f"{count} {name} in the log")


class Load:
    """A thread that publishes `count` requests in about `seconds`, with publish()'s keywords, and
    goes on at that pace until the block ends: what is to happen under load may take its time.

    `with Load(...) as load:` joins it at the end, and fails when something was not delivered.
    """

    def __init__(self, cluster, topics, count, seconds, **keywords):
        self.count = count
        self.poisoned = {}
        self._enough = threading.Event()
        self._abandoned = threading.Event()
        self._error = None
        keywords = {"seconds": seconds, "stop": self._abandoned, **keywords}
        self._thread = threading.Thread(target=self._run, daemon=True,
                                        args=(cluster, topics.requests, count, keywords))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.join()
        else:  # What comes next in this session has the machine for itself.
            self._abandoned.set()
            self._enough.set()

    def join(self):
        self._enough.set()
        self._thread.join(LOAD_TIMEOUT)
        assert not self._thread.is_alive(), f"still publishing after {LOAD_TIMEOUT:.0f} s"
        if self._error is not None:
            raise self._error

    def _run(self, cluster, topic, count, keywords):
        try:
            self.poisoned.update(publish(cluster, topic, count, **keywords).poisoned)
            keywords["seconds"] /= PIECES
            while not self._enough.is_set():
                piece = max(1, count // PIECES)
                done = publish(cluster, topic, piece, first=self.count, **keywords)
                self.poisoned.update(done.poisoned)
                self.count += piece
        except BaseException as error:  # For join().
            self._error = error


class Progress:
    """Where the group stands, asked of the broker by one client that joins nothing."""

    def __init__(self, cluster, topics):
        self._topic = topics.requests
        self._consumer = Consumer(cluster.client_config(group_id=topics.group,
                                                        isolation_level="read_uncommitted"))

    def committed(self):
        """Committed positions with their metadata, of all partitions; waits for a coordinator."""
        def answer():
            with contextlib.suppress(KafkaException):
                return self._committed()
            return None

        return wait_until(answer, CLIENT_TIMEOUT, what="an answer of the coordinator")

    def _committed(self):
        found = self._consumer.list_topics(self._topic, timeout=CLIENT_TIMEOUT)
        places = [TopicPartition(self._topic, number)
                  for number in found.topics[self._topic].partitions]
        return self._consumer.committed(places, timeout=CLIENT_TIMEOUT)

    def lags(self, committed=None):
        """{partition: lag} of the partitions that have records."""
        lags = {}
        for one in committed or self.committed():
            end = self._consumer.get_watermark_offsets(one, timeout=CLIENT_TIMEOUT, cached=False)[1]
            if end > 0:
                lags[one.partition] = end - max(one.offset, 0)
        return lags

    def lag(self):
        return sum(self.lags().values())

    def idle(self):
        """Whether nothing is left to do; not while the broker is away."""
        with contextlib.suppress(KafkaException):
            lags = self.lags(self._committed())
            return bool(lags) and not any(lags.values())
        return False

    def wait_idle(self, timeout=120.0):
        wait_until(self.idle, timeout, every=0.1, what="a lag of 0")


def lags_by_tool(cluster, topics):
    """{partition: lag} as kafka-consumer-groups sees it, of the partitions that have records."""
    listed = cluster.cli("consumer-groups", "--describe", "--group", topics.group).stdout
    rows = [line.split() for line in listed.splitlines()]
    found = {row[2]: row[4:6] for row in rows if len(row) > 5 and row[1] == topics.requests}
    assert found, listed
    return {int(partition): lag for partition, (end, lag) in found.items() if end != "0"}


def verdict(cluster, topics, *, requests=None, poisoned=None, faults=None):
    """Holds what lies in the topics to exactly-once; returns the judge's report.

    requests: how many there must be. poisoned: {number: reason} of all dead letters there may be.
    """
    report = judge(cluster, topics, answer=expected_output)
    print(f"{report}\n{report.ordered_pairs} ordered pairs, aborted: {report.aborted_results} "
          f"results, {report.aborted_dead_letters} dead letters")
    assert report.faults == (faults or {}), report
    assert report.requests > 0
    assert requests is None or report.requests == requests, report
    assert report.ordered_pairs > 0, "the order of nothing was looked at"
    if poisoned is not None:
        assert report.reasons == collections.Counter(poisoned.values()), report.reasons
    return report


def settled(cluster, topics):
    """Once idle and alone: by the broker's own tools, no lag and no open transaction is left."""
    lags = lags_by_tool(cluster, topics)
    assert lags and set(lags.values()) == {"0"}, lags
    listed = cluster.cli("transactions", "list").stdout
    ours = [line for line in listed.splitlines() if line.startswith(f"{topics.group}-")]
    assert ours, listed
    assert not [line for line in ours if "Ongoing" in line or "Prepare" in line], ours


def verify(run_millrace, cluster, topics, *args):
    """The report of `millrace verify`, which must agree with the judge."""
    done = run_millrace(["verify", "-b", cluster.bootstrap, *topics.settings, "-o", "json", *args],
                        check=False, timeout=300)
    report = json.loads(done.stdout)
    assert done.returncode == 0 and report["ok"], (report, done.stderr)
    return report
