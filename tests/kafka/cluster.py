"""A real Apache Kafka cluster for tests, and what a test may do to it.

The brokers are those of `make kafka-up` with other ports, folders and timings. They end with the
process that runs the tests, however that ends.
"""

import base64
import concurrent.futures
import contextlib
import os
import pathlib
import random
import signal
import socket
import subprocess
import time

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

ROOT = pathlib.Path(__file__).resolve().parents[2]
READY_TIMEOUT = 90.0
STOP_TIMEOUT = 60.0
CLI_TIMEOUT = 60.0
# Below the ports that the system gives to outgoing connections: a broker that is down for a moment
# finds its port free again.
PORTS = range(20000, 32000)

# The small heap and the quick compiler: a node is ready in half the time and leaves the processor
# to what is tested.
JVM = ("-Xms400m", "-Xmx400m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")

PROPERTIES = {
    "num.partitions": 4,
    "offsets.topic.num.partitions": 4,
    "transaction.state.log.num.partitions": 4,
    "share.coordinator.state.topic.num.partitions": 1,
    # Tests use timestamps of their own.
    "log.retention.ms": -1,
    # Short sessions, and the group protocol of KIP-848 beats fast: a test waits for a rebalance.
    "group.min.session.timeout.ms": 1000,
    "group.consumer.min.session.timeout.ms": 1000,
    "group.consumer.session.timeout.ms": 5000,
    "group.consumer.min.heartbeat.interval.ms": 200,
    "group.consumer.heartbeat.interval.ms": 500,
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": 200,
    # A node that dies is missed soon; also, one that was killed may come back only then.
    "broker.session.timeout.ms": 2500,
    "broker.heartbeat.interval.ms": 300,
    "replica.lag.time.max.ms": 4000,
    "log.cleaner.threads": 1,
}
CLUSTER_PROPERTIES = {
    "default.replication.factor": 3,
    "min.insync.replicas": 2,
    "offsets.topic.replication.factor": 3,
    "transaction.state.log.replication.factor": 3,
    "transaction.state.log.min.isr": 2,
    "share.coordinator.state.topic.replication.factor": 3,
    "share.coordinator.state.topic.min.isr": 2,
}

# Every broker is started by this one thread: the kernel ends a child that asked for it when the
# thread that started it ends, and a test may restart a broker from a thread that does not last.
_starter = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="kafka-starter")


def jars(version=None):
    """The folder of a release's jars, fetched when it is missing."""
    env = {**os.environ, **({"KAFKA_VERSION": version} if version else {})}
    done = subprocess.run([ROOT / "tools/setup/kafka.sh"], env=env, text=True, timeout=900,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode != 0:
        raise RuntimeError(f"no jars of Kafka: {done.stderr[-2000:]}")
    return done.stdout.strip()


def choose_ports(count):
    """`count` different ports that are free now."""
    chosen = []
    while len(chosen) < count:
        port = random.choice(PORTS)
        with socket.socket() as probe:
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                if port not in chosen:
                    chosen.append(port)
    return chosen


class Node:
    """One broker of a cluster: its number, ports, folder and, once it was started, its process."""

    def __init__(self, number, folder, port, controller_port):
        self.number = number
        self.folder = folder
        self.port = port
        self.controller_port = controller_port
        self.process = None

    @property
    def running(self):
        return self.process is not None and self.process.poll() is None

    @property
    def log(self):
        return self.folder / "server.log"

    @property
    def console(self):
        return self.folder / "console.log"


class KafkaCluster:
    """Brokers in a folder of their own. Not for two threads at once.

    Every method with `node` takes a node's number, counted from 1; without one it means all.
    """

    def __init__(self, folder, *, properties=None, version=None, jvm=JVM):
        self.folder = pathlib.Path(folder)
        self.properties = dict(properties or {})
        self.version = version
        self.jvm = tuple(jvm)
        self.nodes = []
        self._libs = None

    @property
    def bootstrap(self):
        """The addresses of all brokers, as a client's bootstrap.servers."""
        return ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def start(self, nodes=1):
        """Forms a new cluster of `nodes` brokers; returns once a client gets an answer."""
        assert not self.nodes, "this cluster was started before: restart() it"
        self._libs = jars(self.version)
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "cluster.id").write_text(
            base64.b64encode(os.urandom(16), b"AB").decode().rstrip("="))
        ports = choose_ports(2 * nodes)
        for number in range(1, nodes + 1):
            self.nodes.append(Node(number, self.folder / f"node-{number}", ports.pop(),
                                   ports.pop()))
        for node in self.nodes:
            node.folder.mkdir()
            self._write_properties(node)
        return self.restart()

    def restart(self, node=None, *, wait=True):
        """Starts what does not run, on the same ports and data; stops nothing."""
        for one in self._which(node):
            if not one.running:
                self._spawn(one)
        return self.wait_ready() if wait else self

    def stop(self, node=None, timeout=STOP_TIMEOUT):
        """SIGTERM, the controlled shutdown; SIGKILL for who does not end in time."""
        self._signal(node, signal.SIGTERM)
        deadline = time.monotonic() + timeout
        for one in self._which(node):
            if one.process is None:
                continue
            try:
                one.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                one.process.kill()
                one.process.wait()

    def kill(self, node=None):
        """SIGKILL, as a crash does."""
        self._signal(node, signal.SIGKILL)
        for one in self._which(node):
            if one.process is not None:
                one.process.wait()

    def pause(self, node=None):
        """SIGSTOP: the broker keeps its connections and answers nothing, as a stall does."""
        self._signal(node, signal.SIGSTOP)

    def resume(self, node=None):
        self._signal(node, signal.SIGCONT)

    def wait_ready(self, timeout=READY_TIMEOUT):
        """Waits until a client finds every broker that runs, and each partition answers."""
        running = [node for node in self.nodes if node.running]
        admin = self.admin()
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            for node in running:
                if not node.running:
                    raise RuntimeError(f"node {node.number} ended while starting:\n"
                                       f"{self.tails(node.number)}")
            with contextlib.suppress(KafkaException):
                found = admin.list_topics(timeout=1)
                if len(found.brokers) >= len(running):
                    self._ask_every_leader(admin, found)
                    return self
            time.sleep(0.05)
        raise RuntimeError(f"{self.bootstrap} was not ready after {timeout:.0f} s:\n{self.tails()}")

    def admin(self):
        """A client for administration. Its own complaints about a broker that is away are muted."""
        return AdminClient(self.client_config())

    def client_config(self, **extra):
        """confluent-kafka's settings for this cluster; `_` in a keyword stands for a dot."""
        config = {"bootstrap.servers": self.bootstrap, "log_level": 2,
                  "reconnect.backoff.ms": 50, "reconnect.backoff.max.ms": 500}
        config.update({name.replace("_", "."): value for name, value in extra.items()})
        return config

    def create_topic(self, name, partitions=4, **config):
        """Creates a topic; config as in cleanup_policy="compact"."""
        self.create_topics({name: partitions}, **config)

    def create_topics(self, partitions_of, **config):
        """Creates {name: partitions} and waits until clients see them."""
        settings = {key.replace("_", "."): str(value) for key, value in config.items()}
        admin = self.admin()
        deadline = time.monotonic() + 30
        wanted = dict(partitions_of)
        while wanted:
            made = admin.create_topics([NewTopic(name, partitions, config=settings)
                                        for name, partitions in wanted.items()])
            for name, future in made.items():
                try:
                    future.result(30)
                except KafkaException as error:
                    # A node that was busy for a moment counts as gone: there are too few of them.
                    if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                        if time.monotonic() > deadline:
                            raise
                        time.sleep(0.5)
                        continue
                del wanted[name]
        while not set(partitions_of) <= set(admin.list_topics(timeout=10).topics):
            assert time.monotonic() < deadline, f"{sorted(partitions_of)} did not appear"
            time.sleep(0.02)

    def cli(self, tool, *args, check=True, timeout=CLI_TIMEOUT):
        """Runs tools/kafka/cli against this cluster; returns the CompletedProcess.

        Knows that a tool without a broker (dump-log, storage) takes no address.
        """
        address = [] if tool in ("dump-log", "storage") else ["--bootstrap-server", self.bootstrap]
        done = subprocess.run(
            [ROOT / "tools/kafka/cli", tool, *address, *map(str, args)], text=True,
            env={**os.environ, "KAFKA_LIBS": self._libs}, timeout=timeout,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if check and done.returncode != 0:
            raise RuntimeError(f"{tool} {args} exited with {done.returncode}:\n"
                               f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
        return done

    def set_group(self, group, *, session_ms, heartbeat_ms=None):
        """Session and heartbeat of one KIP-848 group, which only the broker may set."""
        wanted = f"consumer.session.timeout.ms={session_ms}"
        if heartbeat_ms is not None:
            wanted += f",consumer.heartbeat.interval.ms={heartbeat_ms}"
        self.cli("configs", "--alter", "--entity-type", "groups", "--entity-name", group,
                 "--add-config", wanted)

    def segments(self, topic, partition, node=1):
        """The data files of a partition on a node, oldest first."""
        where = self._which(node)[0].folder / "data" / f"{topic}-{partition}"
        return sorted(where.glob("*.log"))

    def tails(self, node=None, lines=30):
        """The end of what each node said, for a failure's report."""
        text = []
        for one in self._which(node):
            for path in (one.console, one.log):
                with contextlib.suppress(OSError):
                    end = path.read_text(errors="replace").splitlines()[-lines:]
                    text += [f"--- end of {path}", *end]
        return "\n".join(text)

    def said(self, text):
        """Lines of the nodes' logs that contain `text`."""
        return [line for node in self.nodes
                for line in node.log.read_text(errors="replace").splitlines() if text in line]

    def _which(self, number):
        return [node for node in self.nodes if number in (None, node.number)]

    def _signal(self, number, sig):
        for node in self._which(number):
            if node.running:
                node.process.send_signal(sig)
                if sig == signal.SIGTERM:  # One that is stopped would never see it.
                    node.process.send_signal(signal.SIGCONT)

    def _write_properties(self, node):
        voters = ",".join(f"{n.number}@127.0.0.1:{n.controller_port}" for n in self.nodes)
        own = {
            "node.id": node.number,
            "controller.quorum.voters": voters,
            "listeners": f"PLAINTEXT://127.0.0.1:{node.port},"
                         f"CONTROLLER://127.0.0.1:{node.controller_port}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{node.port}",
            "log.dirs": node.folder / "data",
        }
        clustered = CLUSTER_PROPERTIES if len(self.nodes) >= 3 else {}
        lines = [(ROOT / "tools/kafka/server.properties").read_text()]
        for name, value in {**PROPERTIES, **clustered, **self.properties, **own}.items():
            lines.append(f"{name}={value}\n")
        (node.folder / "server.properties").write_text("".join(lines))

    def _ask_every_leader(self, admin, found):
        """Raises when a partition has no leader yet, or one that does not know it yet."""
        partitions = {TopicPartition(name, number): OffsetSpec.latest()
                      for name, topic in found.topics.items() for number in topic.partitions}
        if partitions:
            for future in admin.list_offsets(partitions, request_timeout=2).values():
                future.result(5)

    def _spawn(self, node):
        command = ["setpriv", "--pdeathsig", "KILL", "--", str(ROOT / "tools/kafka/node"),
                   self._libs, str(node.folder), *self.jvm]

        def popen():
            with open(node.console, "ab") as sink:
                return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sink,
                                        stderr=subprocess.STDOUT, start_new_session=True)

        node.process = _starter.submit(popen).result()
