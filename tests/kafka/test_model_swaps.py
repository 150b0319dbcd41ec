"""Versions swapped by events on a real cluster, under load, through a kill and a rebalance."""

import collections
import hashlib
import itertools
import json
import threading
import time

import pytest

from confluent_kafka import Consumer, Producer, TopicPartition

from http_store import HttpStore
from judge import judge
from publish import publish, request
from waiting import wait_until
from workload import Load, PROTOCOLS, Progress, assigned, dice, events, metric, outcomes, settled

SWAPS = 200
BIAS = {"1": 0.0, "2": 1000.0}
COUNT = 40_000


def answer_of(version, body):
    return [float(sum(x * w for x, w in zip(body["input"], (1, 2, 3, 4)))) + BIAS[version]]


class Promoter:
    """Sends model events with a client that is not ours, and reads the workers' answers."""

    def __init__(self, cluster, topics):
        self._topics = topics
        self._producer = Producer(cluster.client_config(acks="all"))
        self._consumer = Consumer(cluster.client_config(group_id=f"{topics.group}-status"))
        self._consumer.assign([TopicPartition(topics.status, 0, 0)])
        self.states = {}  # By worker.

    def send(self, value, key=b"linear"):
        self._producer.produce(self._topics.events, key=key,
                               value=None if value is None else json.dumps(value))
        assert self._producer.flush(30) == 0

    def promote(self, version, action="promote"):
        self.send({"model_id": "linear", "version": version, "action": action, "uri": "",
                   "sha256": "", "issued_at": "2026-11-21T00:00:00.000Z"})

    def read(self):
        message = self._consumer.poll(0.05)
        while message is not None:
            assert message.error() is None, message.error()
            model, worker = message.key().decode().split("|", 1)
            if model == "linear" and message.value() is None:
                self.states.pop(worker, None)
            elif model == "linear":
                self.states[worker] = json.loads(message.value())
            message = self._consumer.poll(0)
        return self.states

    def wait(self, version, workers=1, state="serving"):
        def answered():
            return sum(s["version"] == version and s["state"] == state
                       for s in self.read().values()) >= workers
        try:
            wait_until(answered, what=f"{workers} workers that are {state} with version {version}")
        except AssertionError:
            print(self.states)
            raise


def judged(cluster, topics, requests):
    report = judge(cluster, topics,
                   answer=lambda body, result: answer_of(result["model_version"], body))
    print(report)
    assert report.faults == {}, report
    assert report.requests == requests and report.results == requests, report
    return report


def test_two_hundred_swaps_under_load_lose_nothing(kafka, topics, serve):
    promoter = Promoter(kafka, topics)
    with serve(kafka, topics, "-s", "executor.threads=1") as running:
        with Load(kafka, topics, COUNT, 20) as load:
            for version in itertools.islice(itertools.cycle("21"), SWAPS):
                promoter.promote(version)
                promoter.wait(version)
        Progress(kafka, topics).wait_idle()
        metrics = running.metrics()
        assert metrics['millrace_model_loads_total{model="linear",result="ok"}'] == SWAPS
        assert 'millrace_model_loads_total{model="linear",result="failed"}' not in metrics
        assert running.stop() == 0
    report = judged(kafka, topics, load.count)
    assert min(report.versions.values()) > 0, report.versions
    settled(kafka, topics)


def test_a_thousand_swaps_keep_no_memory(kafka, topics, serve):
    """Without a load, so that they follow each other as quickly as versions can be loaded."""
    swaps, resident = 1_000, []
    promoter = Promoter(kafka, topics)
    with serve(kafka, topics, "-s", "executor.threads=1") as running:
        for i, version in enumerate(itertools.islice(itertools.cycle("21"), swaps)):
            promoter.promote(version)
            promoter.wait(version)
            if i % 50 == 49:
                resident.append(round(running.metrics()["process_resident_memory_bytes"] / 2**20))
        assert events(running, "model_unloaded") >= swaps - 5
        middle = resident[len(resident) // 2 - 1]
        assert max(resident[len(resident) // 2:]) < middle + 20, resident
        assert running.stop() == 0
    print("resident MiB", resident)


def test_a_worker_that_dies_between_two_swaps_comes_back_with_the_last(
        own_kafka, make_topics, serve):
    topics = make_topics(own_kafka)
    promoter = Promoter(own_kafka, topics)
    random = dice()
    settings = [*PROTOCOLS["classic"], "-s", "executor.threads=1"]
    with Load(own_kafka, topics, COUNT // 4, 10) as load:
        for version in itertools.islice(itertools.cycle("21"), 5):
            with serve(own_kafka, topics, *settings) as running:
                before = outcomes(running)
                wait_until(lambda: outcomes(running) > before)
                promoter.promote(version)
                time.sleep(random.random() * 0.3)
                running.kill()
        with serve(own_kafka, topics, *settings) as running:
            promoter.wait(version)
            load.join()
            Progress(own_kafka, topics).wait_idle()
            assert running.stop() == 0
    judged(own_kafka, topics, load.count)


def test_two_workers_follow_the_same_events_and_a_tombstone_retires(kafka, topics, serve,
                                                                    run_millrace):
    promoter = Promoter(kafka, topics)
    settings = ["-s", "executor.threads=1"]
    with serve(kafka, topics, *settings, "-s", "kafka.instance_id=a") as first, \
            serve(kafka, topics, *settings, "-s", "kafka.instance_id=b") as second:
        promoter.promote("2")
        promoter.wait("2", workers=2)
        promoter.promote("1", action="rollback")
        promoter.wait("1", workers=2)
        publish(kafka, topics.requests, 500)
        Progress(kafka, topics).wait_idle()
        promoter.send(None)
        wait_until(lambda: {s["state"] for s in promoter.read().values()} == {"retired"})
        assert set(promoter.states) == {"a", "b"}
        assert first.stop() == 0 and second.stop() == 0
    wait_until(lambda: promoter.read() == {}, what="nobody left in the status topic")
    judged(kafka, topics, 500)


@pytest.fixture
def store(models):
    """A web server with version 2, whose answers wait for store.gate."""
    server = HttpStore()
    server.path = "/linear/2/model.onnx"
    server.files[server.path] = (models / "linear" / "2" / "model.onnx").read_bytes()
    server.gate = threading.Event()
    server.gates[server.path] = server.gate
    yield server
    server.gate.set()
    server.close()


def versions_by_key(run_millrace, kafka, topics):
    """The versions that answered the requests of each tenant, in the order of the requests."""
    answers = run_millrace(["results", "-b", kafka.bootstrap, *topics.settings, "-o", "json"],
                           timeout=120).stdout.splitlines()
    of_key = collections.defaultdict(list)
    for answer in sorted(map(json.loads, answers), key=lambda a: int(a["request_id"][2:])):
        of_key[answer["tenant_id"]].append(answer["model_version"])
    return of_key


def test_a_worker_whose_models_are_behind_takes_no_key_back(kafka, topics, serve, store,
                                                            run_millrace, local_dir):
    promoter = Promoter(kafka, topics)
    data = store.files[store.path]
    event = {"model_id": "linear", "version": "2", "action": "promote",
             "uri": store.url + store.path, "sha256": hashlib.sha256(data).hexdigest(),
             "issued_at": "2026-11-22T00:00:00.000Z"}

    def settings(name):
        return ["-s", "executor.threads=1", "-s", f"repository.cache_dir={local_dir / name}", "-s",
                f"repository.allow_hosts=127.0.0.1:{store.port}"]

    store.gate.set()
    run_millrace(["models", "fetch", event["uri"], "--sha256", event["sha256"], "-s",
                  f"repository.cache_dir={local_dir / 'quick'}", "-s",
                  f"repository.allow_hosts=127.0.0.1:{store.port}"])
    store.gate.clear()
    with serve(kafka, topics, *settings("quick")) as quick, \
            serve(kafka, topics, *settings("slow")) as slow:
        wait_until(lambda: assigned(quick) == 2 and assigned(slow) == 2)
        with Load(kafka, topics, 4_000, 8, make=lambda n, tenants: request(n, 40)):
            promoter.send(event)
            promoter.wait("2")
            wait_until(lambda: quick.metrics().get('millrace_requests_total{model="linear",'
                                                   'version="2",outcome="ok"}', 0) > 50)
            assert quick.stop() == 0  # What it had goes to one that is still waiting for its file.
            wait_until(lambda: assigned(slow) == 4)
            assert metric(slow, "millrace_model_loads_total") == 0
            time.sleep(1)
            store.gate.set()
            promoter.wait("2")
        Progress(kafka, topics).wait_idle()
        assert slow.stop() == 0
    of_key = versions_by_key(run_millrace, kafka, topics)
    assert len(of_key) == 40
    went_back = {key: versions for key, versions in of_key.items() if versions != sorted(versions)}
    assert went_back == {}
    assert {version for versions in of_key.values() for version in versions} == {"1", "2"}


def test_model_events_of_other_clients_are_understood_or_passed_over(kafka, topics, serve):
    promoter = Promoter(kafka, topics)
    with serve(kafka, topics) as running:
        for value in ([1], {"model_id": "linear"}, {"action": "promote"}, "x",
                      {"model_id": "other", "version": "1", "action": "promote"}):
            promoter.send(value)
        promoter.promote("2")
        promoter.wait("2")
        assert running.log.read_text().count("model_event_invalid") == 5
        assert running.stop() == 0


def test_messages_of_old_deployments_name_a_path(kafka, topics, serve, models):
    path = models / "linear" / "2" / "model.onnx"
    promoter = Promoter(kafka, topics)
    with serve(kafka, topics, "-s", "repository.model_path_for=linear") as running:
        promoter.send({"model_path": str(path)}, key=b"anything")
        wait_until(lambda: {s["serving"] for s in promoter.read().values()} == {"2"})
        # The same place, other bytes.
        path.write_bytes((models / "linear" / "1" / "model.onnx").read_bytes())
        promoter.send({"model_path": str(path)}, key=b"anything")
        wait_until(lambda: running.metrics().get(
            'millrace_model_loads_total{model="linear",result="ok"}') == 2)
        publish(kafka, topics.requests, 100)
        Progress(kafka, topics).wait_idle()
        assert running.stop() == 0
    report = judge(kafka, topics, answer=lambda body, _: answer_of("1", body))
    assert report.faults == {} and report.versions == {"2": 100}, report
