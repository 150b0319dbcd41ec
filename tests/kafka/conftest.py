"""Fixtures that give a test a real Kafka broker.

`kafka` is one broker for the whole run: use it for everything that does not harm it. `own_kafka` is
a broker for one test, to be killed and paused at will; `start_kafka` makes any other cluster.
"""

import dataclasses
import itertools
import pathlib
import re
import shutil
import uuid

import pytest

from cluster import KafkaCluster
from publish import SLOW, SLOW_SECONDS, SLOW_VALUE

MODELS = pathlib.Path(__file__).resolve().parents[1] / "models"

_clusters = pytest.StashKey[list]()
_number = itertools.count()
_run = uuid.uuid4().hex[:6]


@dataclasses.dataclass(frozen=True)
class Topics:
    """The topics of one test, and a group name that no other test has."""

    requests: str
    results: str
    dlq: str
    events: str
    status: str
    group: str

    @property
    def settings(self):
        """The worker's arguments that name them: `-s topics.requests=...`, `-g ...`."""
        names = [f"topics.{name}={getattr(self, name)}"
                 for name in ("requests", "results", "dlq", "events", "status")]
        return [word for name in names for word in ("-s", name)] + ["-g", self.group]


def topics_for(test_name, cluster, partitions=4):
    """Creates the topics of one test in `cluster`; the results get as many partitions."""
    stem = f"{re.sub('[^a-z0-9]+', '-', test_name.lower()).strip('-')[:60]}-{_run}-{next(_number)}"
    names = ("requests", "results", "dlq", "events", "status")
    topics = Topics(*(f"{stem}.{name}" for name in names), group=stem)
    cluster.create_topics({topics.requests: partitions, topics.results: partitions, topics.dlq: 2})
    for name in (topics.events, topics.status):
        cluster.create_topic(name, 1, cleanup_policy="compact")
    return topics


@pytest.fixture(scope="session")
def kafka(tmp_path_factory):
    """The broker that the tests share."""
    # Nobody kills this one: a machine that is busy for seconds must not make it look dead.
    cluster = KafkaCluster(tmp_path_factory.mktemp("kafka"),
                           properties={"broker.session.timeout.ms": 18000})
    try:
        yield cluster.start()
    finally:
        cluster.kill()


@pytest.fixture
def start_kafka(tmp_path, request):
    """start_kafka(nodes=1, **KafkaCluster's keywords) -> a running cluster, gone after the test."""
    clusters = request.node.stash.setdefault(_clusters, [])

    def start(nodes=1, **keywords):
        cluster = KafkaCluster(tmp_path / f"kafka-{len(clusters)}", **keywords)
        clusters.append(cluster)
        return cluster.start(nodes)

    yield start
    for cluster in clusters:
        cluster.kill()


@pytest.fixture
def own_kafka(start_kafka):
    """A broker of this test's own, which it may kill, restart and pause."""
    return start_kafka()


@pytest.fixture
def make_topics(request):
    """make_topics(cluster, partitions=4) -> Topics of this test in that cluster."""
    return lambda cluster, partitions=4: topics_for(request.node.name, cluster, partitions)


@pytest.fixture
def topics(kafka, make_topics):
    """Topics of this test alone in the shared broker."""
    return make_topics(kafka)


@pytest.fixture
def models(local_dir):
    """A repository with the models of publish(): `linear`, a copy, for a link may not lead out of
    it, and `slow`."""
    repository = local_dir / "models"
    shutil.copytree(MODELS / "linear", repository / "linear")
    (repository / SLOW / "1").mkdir(parents=True)
    (repository / SLOW / "1" / "model.test").write_text(
        f"elements=4\nslow_value={SLOW_VALUE}\nslow_us={SLOW_SECONDS * 1_000_000}\n")
    return repository


@pytest.fixture
def serve(worker, models):
    """`with serve(cluster, topics, args...) as w:` runs a worker there, as the fixture `worker`."""

    def start(cluster, topics, *args, **keywords):
        return worker("-b", cluster.bootstrap, "--models", models, *topics.settings,
                      "-s", "models.linear.version=1", *args, **keywords)

    return start


@pytest.fixture
def requests_in_all(pytestconfig):
    """How many requests a test of many kills takes: 100,000, or 5,000 with --small."""
    return 5_000 if pytestconfig.getoption("--small") else 100_000


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.failed and report.when == "call":
        shared = item.funcargs.get("kafka") if hasattr(item, "funcargs") else None
        for cluster in [*item.stash.get(_clusters, []), *([shared] if shared else [])]:
            report.sections.append(("brokers", cluster.tails()))
