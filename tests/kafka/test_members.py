"""Workers come and go while requests go on coming: nobody loses anything, and nobody waits long."""

import contextlib
import threading
import time

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from judge import rows
from waiting import wait_until
from workload import (SHORT_SESSION, Load, Progress, assigned, events, outcomes, settled, verdict,
                      verify, wait_outcomes)

PARTITIONS = 6
# As many keys as fill every partition.
TENANTS = 60
# Sessions, of 20 and 30 s, far longer than a test waits for partitions to move, and that far longer
# than it takes on a busy machine: what moves, was handed over.
LONG_SESSION = {"classic": [], "consumer": ["-X", "group.protocol=consumer"]}
HANDED_OVER = 10.0


class LiveReader:
    """A read_committed consumer of the results: what it saw, and when, by the request's partition.
    """

    def __init__(self, cluster, topic):
        self.seen = []  # (partition, offset) in the order of arrival.
        self.times = {}
        self.error = None
        self._stop = threading.Event()
        self._consumer = Consumer(cluster.client_config(
            group_id="live-reader", isolation_level="read_committed", enable_auto_commit=False,
            auto_offset_reset="error", fetch_wait_max_ms=10))
        partitions = self._consumer.list_topics(topic, timeout=30).topics[topic].partitions
        self._consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in partitions])
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join(30)
        self._consumer.close()

    def _run(self):
        while not self._stop.is_set():
            for message in self._consumer.consume(1000, timeout=0.02):
                if message.error() is not None:
                    self.error = message.error()
                    continue
                self.seen.append((message.partition(), message.offset()))
                source = dict(message.headers())["source"].decode()
                self.times.setdefault(int(source.split(":")[1]), []).append(time.monotonic())

    def longest_gap(self, begin, end):
        """{partition: the longest time without an outcome within [begin, end]}, in seconds."""
        gaps = {}
        for partition, times in sorted(self.times.items()):
            within = [begin, *(t for t in times if begin < t < end), end]
            gaps[partition] = max(b - a for a, b in zip(within, within[1:]))
        return gaps


@pytest.fixture(params=sorted(LONG_SESSION))
def long_session(request, kafka):
    """long_session(topics): settings of the worker; its `.param` is the protocol."""
    def settings(topics):
        if request.param == "consumer":
            kafka.set_group(topics.group, session_ms=30_000)
        return LONG_SESSION[request.param]

    settings.param = request.param
    return settings


def wait_shared(workers, timeout=30.0):
    """Waits until each of them has its share of the partitions."""
    fair = {PARTITIONS // len(workers), -(-PARTITIONS // len(workers))}

    def shared():
        found = [assigned(worker) for worker in workers]
        return sum(found) == PARTITIONS and set(found) <= fair

    wait_until(shared, timeout, what=f"a fair share for each of {len(workers)} workers")


def test_workers_join_and_leave_under_load(long_session, kafka, make_topics, serve, run_millrace):
    topics = make_topics(kafka, PARTITIONS)
    progress = Progress(kafka, topics)
    settings = long_session(topics)
    with contextlib.ExitStack() as stack:
        reader = stack.enter_context(LiveReader(kafka, topics.results))
        load = stack.enter_context(Load(kafka, topics, 30_000, 12, tenants=TENANTS))
        first = stack.enter_context(serve(kafka, topics, *settings))
        wait_outcomes(first)
        second = stack.enter_context(serve(kafka, topics, *settings))
        wait_shared([first, second])
        wait_outcomes(second)
        begin = time.monotonic()
        third = stack.enter_context(serve(kafka, topics, *settings))
        wait_shared([first, second, third])
        wait_outcomes(third)
        end = time.monotonic()
        assert first.stop() == 0
        wait_shared([second, third], HANDED_OVER)
        assert second.stop() == 0
        wait_shared([third], HANDED_OVER)
        load.join()
        progress.wait_idle()
        assert third.stop() == 0
        report = verdict(kafka, topics, requests=load.count, poisoned={})
        wait_until(lambda: len(reader.seen) >= report.results, what="the live reader's end")
    settled(kafka, topics)
    verify(run_millrace, kafka, topics)
    # What was once seen is there for good.
    assert reader.error is None
    assert sorted(reader.seen) == [row.place[1:] for row in rows(kafka, topics.results)[0]]
    gaps = reader.longest_gap(begin, end)
    print(f"{long_session.param}: longest gaps while a third worker joined, by partition: "
          + ", ".join(f"{gap:.2f} s" for gap in gaps.values()))
    assert len(gaps) == PARTITIONS and max(gaps.values()) < HANDED_OVER, gaps


def test_sigterm_under_load_drains_and_hands_over_at_once(long_session, kafka, topics, serve,
                                                          run_millrace):
    progress = Progress(kafka, topics)
    settings = long_session(topics)
    with contextlib.ExitStack() as stack:
        load = stack.enter_context(Load(kafka, topics, 15_000, 7))
        leaving = stack.enter_context(serve(kafka, topics, *settings))
        staying = stack.enter_context(serve(kafka, topics, *settings))
        wait_until(lambda: assigned(leaving) == assigned(staying) == 2, what="two workers' shares")
        wait_outcomes(leaving)
        asked = time.monotonic()
        assert leaving.stop() == 0
        left = time.monotonic()
        wait_until(lambda: assigned(staying) == 4, HANDED_OVER, what="taking over at once")
        print(f"left after {left - asked:.2f} s, taken over after {time.monotonic() - left:.2f} s")
        assert events(leaving, "drain_incomplete") == 0
        wait_outcomes(staying)
        load.join()
        progress.wait_idle()
        assert staying.stop() == 0
    verdict(kafka, topics, requests=load.count, poisoned={})
    assert progress.idle()
    verify(run_millrace, kafka, topics)


def test_older_worker_of_a_slot_stops_and_says_why(kafka, topics, serve):
    """Two workers with one kafka.slot: the newer one fences the older one."""
    progress = Progress(kafka, topics)
    settings = [*SHORT_SESSION, "-s", "kafka.slot=a"]
    with contextlib.ExitStack() as stack:
        load = stack.enter_context(Load(kafka, topics, 15_000, 7))
        older = stack.enter_context(serve(kafka, topics, *settings))
        wait_outcomes(older)
        newer = stack.enter_context(serve(kafka, topics, *settings))
        assert older.process.wait(20) == 1
        last = older.log.read_text().splitlines()[-1]
        assert "another worker has taken slot 'a'" in last and "kafka.slot" in last, last
        assert f"{topics.group}-a" in last, "the transactional.id is named"
        wait_until(lambda: assigned(newer) == 4, what="the newer one's taking over")
        assert outcomes(newer) >= 0 and newer.process.poll() is None
        load.join()
        progress.wait_idle()
        assert newer.stop() == 0
    verdict(kafka, topics, requests=load.count, poisoned={})
    assert progress.idle()


def test_workers_of_one_host_take_slots_of_their_own(kafka, topics, serve):
    """Without kafka.slot nobody fences anybody, and who comes back finds its old name."""
    def name(worker):
        (line,) = [line for line in worker.log.read_text().splitlines() if "slot_taken" in line]
        return line.rsplit(topics.group, 1)[1].strip('"} ')

    with serve(kafka, topics, *SHORT_SESSION) as first, \
            serve(kafka, topics, *SHORT_SESSION) as second:
        assert name(first) != name(second)
        second.kill()
        with serve(kafka, topics, *SHORT_SESSION) as third:
            assert name(third) == name(second)
            assert first.stop() == third.stop() == 0


def test_rolling_restart_keeps_work_going_and_leaves_no_transaction_behind(
        long_session, kafka, make_topics, serve, run_millrace):
    """Three workers, one after the other stopped and replaced by one in the same slot."""
    topics = make_topics(kafka, PARTITIONS)
    progress = Progress(kafka, topics)
    settings = long_session(topics)

    def start(slot):
        return serve(kafka, topics, *settings, "-s", f"kafka.slot=w{slot}")

    with contextlib.ExitStack() as stack:
        reader = stack.enter_context(LiveReader(kafka, topics.results))
        load = stack.enter_context(Load(kafka, topics, 30_000, 12, tenants=TENANTS))
        crew = [stack.enter_context(start(slot)) for slot in range(3)]
        wait_shared(crew)
        wait_outcomes(crew[2])
        begin = time.monotonic()
        for slot in range(3):
            assert crew[slot].stop() == 0
            crew[slot] = stack.enter_context(start(slot))
            wait_shared(crew)
        end = time.monotonic()
        load.join()
        progress.wait_idle()
        for worker in crew:
            assert worker.stop() == 0
        assert reader.error is None
    verdict(kafka, topics, requests=load.count, poisoned={})
    settled(kafka, topics)
    verify(run_millrace, kafka, topics)
    given_up = [line for line in kafka.said("due to timeout") if topics.group in line]
    assert not given_up, "a transaction was left for the coordinator to end"
    gaps = reader.longest_gap(begin, end)
    print(f"{long_session.param}: longest gaps during a rolling restart, by partition: "
          + ", ".join(f"{gap:.2f} s" for gap in gaps.values()))
    assert len(gaps) == PARTITIONS and max(gaps.values()) < HANDED_OVER, gaps
