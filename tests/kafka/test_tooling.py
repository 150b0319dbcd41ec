"""`make kafka-up` and `make kafka-down` do what they say, with ports and folders of their own."""

import os
import random
import re
import signal
import subprocess

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from cluster import ROOT

LIMIT = 150
VERSION = re.search(r"^kafka_broker=(\S+)$", (ROOT / "tools/setup/versions.env").read_text(),
                    re.MULTILINE).group(1)


class Tooling:
    """The targets with this test's folder; run for real."""

    def __init__(self, folder):
        self.folder = folder
        # The first of six; below those among which the tests' own clusters choose.
        self.port = random.randrange(18000, 19990, 6)

    def make(self, target, check=True, **variables):
        """What `make target` printed."""
        env = {name: value for name, value in os.environ.items()
               if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "NODES", "KAFKA_VERSION")}
        env |= {"KAFKA_DIR": str(self.folder), "KAFKA_PORT": str(self.port), "KAFKA_HEAP": "300m"}
        env |= {name: str(value) for name, value in variables.items()}
        done = subprocess.run(["make", "-C", str(ROOT), target], env=env, text=True, timeout=LIMIT,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
        if check:
            assert done.returncode == 0, done.stdout
        else:
            assert done.returncode != 0, done.stdout
        return done.stdout

    def pids(self):
        return {path: int(path.read_text()) for path in sorted(self.folder.glob("*/node-*/pid"))}

    def admin(self):
        return AdminClient({"bootstrap.servers": f"127.0.0.1:{self.port}", "log_level": 2})


@pytest.fixture
def tooling(tmp_path):
    tools = Tooling(tmp_path / "kafka")
    yield tools
    tools.make("kafka-down")


def running(pid):
    try:
        with open(f"/proc/{pid}/cmdline") as command:
            return "kafka.Kafka" in command.read()
    except FileNotFoundError:
        return False


def publish(port, topic):
    failures = []
    producer = Producer({"bootstrap.servers": f"127.0.0.1:{port}", "acks": "all"})
    producer.produce(topic, b"x", on_delivery=lambda error, _: error and failures.append(error))
    assert producer.flush(30) == 0 and not failures


def test_up_twice_and_down_twice_keep_the_data(tooling):
    said = tooling.make("kafka-up")
    assert "is ready" in said and f"127.0.0.1:{tooling.port}" in said
    log = re.search(r"logs: (\S+server\.log)", said).group(1).replace("*", "1")
    assert "Kafka Server started" in open(log).read()
    (pid,) = tooling.pids().values()

    assert "is running already" in tooling.make("kafka-up")
    assert list(tooling.pids().values()) == [pid], "the second call leaves the first one's broker"
    assert "`make kafka-down` first" in tooling.make("kafka-up", check=False, NODES=3)

    admin = tooling.admin()
    admin.create_topics([NewTopic("kept", 3)])["kept"].result(30)
    publish(tooling.port, "kept")
    assert "stopped" in tooling.make("kafka-down")
    assert not running(pid) and not tooling.pids()
    assert "nothing runs" in tooling.make("kafka-down")

    assert "is ready" in tooling.make("kafka-up")
    assert len(admin.list_topics(timeout=20).topics["kept"].partitions) == 3


def test_a_recorded_process_that_is_not_the_broker_is_left_alone(tooling):
    """After a crash of the machine the recorded id may be anybody's."""
    stranger = subprocess.Popen(["sleep", "600"])
    try:
        path = tooling.folder / f"{VERSION}-1" / "node-1" / "pid"
        path.parent.mkdir(parents=True)
        path.write_text(str(stranger.pid))
        assert "nothing runs" in tooling.make("kafka-down")
        assert not path.exists()
        path.write_text(str(stranger.pid))
        assert "is ready" in tooling.make("kafka-up")
        assert stranger.poll() is None, "neither may stop what it did not start"
    finally:
        stranger.kill()
        stranger.wait()


def test_three_nodes_form_one_cluster(tooling):
    assert "3 nodes" in tooling.make("kafka-up", NODES=3)
    assert len(tooling.pids()) == 3
    admin = tooling.admin()
    admin.create_topics([NewTopic("t", 2)])["t"].result(30)
    publish(tooling.port, "t")
    found = admin.list_topics(timeout=20)
    assert len(found.brokers) == 3
    assert all(len(partition.replicas) == 3 for partition in found.topics["t"].partitions.values())
    os.kill(list(tooling.pids().values())[2], signal.SIGKILL)
    assert "is ready" in tooling.make("kafka-up", NODES=3), "the lost node comes back"
    pids = list(tooling.pids().values())
    tooling.make("kafka-down")
    assert not any(running(pid) for pid in pids)


def test_taken_port_and_wrong_variables_are_told(tooling, kafka):
    taken = kafka.nodes[0].port
    assert f"port {taken} is taken" in tooling.make("kafka-up", check=False, KAFKA_PORT=taken)
    assert "KAFKA_PORT is 'x'" in tooling.make("kafka-up", check=False, KAFKA_PORT="x")
    assert "NODES is '0'" in tooling.make("kafka-up", check=False, NODES=0)
    assert "KAFKA_VERSION is 'new'" in tooling.make("kafka-up", check=False, KAFKA_VERSION="new")


def test_cli_runs_the_brokers_tools(kafka, topics):
    assert topics.requests in kafka.cli("topics", "--list").stdout
    assert "transaction.version" in kafka.cli("features", "describe").stdout
    kafka.cli("transactions", "list")
    unknown = kafka.cli("no-such-tool", check=False)
    assert unknown.returncode == 2 and "--help" in unknown.stderr
