"""The commands on a real broker: topics, serve, verify, demo, bench. What they do with records on
either log is tested on the local one (test_commands.py); what a worker promises on a cluster, in
tests/kafka.
"""

import contextlib
import json
import pathlib
import re
import shutil
import signal
import sys
import time

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from helpers import lines, request
from waiting import wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests" / "kafka"))
from cluster import KafkaCluster  # noqa: E402

MODELS = ROOT / "tests" / "models"
DEMO_MODELS = ROOT / "examples" / "demo" / "models"


def group_answers(consumer):
    with contextlib.suppress(KafkaException):  # Not while its coordinator is being made.
        return bool(consumer.committed([TopicPartition("warm-up", 0)], 30))
    return False


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    cluster = KafkaCluster(tmp_path_factory.mktemp("kafka"))
    try:
        cluster.start()
        # A broker makes what groups and transactions need when it is first asked: not in a test.
        cluster.create_topic("warm-up", 1)
        consumer = Consumer(cluster.client_config(group_id="warm-up"))
        wait_until(lambda: group_answers(consumer), what="a coordinator for groups")
        consumer.close()
        yield cluster
    finally:
        cluster.kill()


@pytest.fixture
def place(broker, request, tmp_path):
    """Flags that name the broker, a group and topics of this test: `-c FILE`."""
    stem = re.sub("[^a-z0-9]+", "-", request.node.name.lower())[:50]
    path = tmp_path / "place.yaml"
    names = {name: f"{stem}.{name}" for name in ("requests", "results", "dlq", "events")}
    path.write_text(json.dumps({"transport": "kafka",
                                "kafka": {"brokers": broker.bootstrap, "group": stem},
                                "topics": names}))
    return ["-c", path]


def create(run_millrace, place, *args, check=True):
    return run_millrace(["topics", "create", *place, "--partitions-scale", "0.0625", "-o", "json",
                         *args], check=check)


def describe(run_millrace, place):
    done = run_millrace(["topics", "describe", *place, "-o", "json"])
    return {topic["topic"].rsplit(".")[-1]: topic for topic in json.loads(done.stdout)}


@pytest.fixture
def models(tmp_path):
    shutil.copytree(MODELS / "linear", tmp_path / "models" / "linear")
    return tmp_path / "models"


# -- topics ---------------------------------------------------------------------------------------


def test_topics_create_makes_one_copy_and_says_what_that_means(run_millrace, place):
    done = create(run_millrace, place)
    made = json.loads(done.stdout)
    assert [(t["state"], t["partitions"], t["replication_factor"], t["min_insync_replicas"])
            for t in made] == [("created", 4, 1, 1), ("created", 2, 1, 1), ("created", 1, 1, 1),
                               ("created", 1, 1, 1), ("created", 1, 1, 1), ("created", 1, 1, 1)]
    assert "replication factor 1" in done.stderr and "--production" in done.stderr
    again = create(run_millrace, place, "--replication-factor", "1")
    assert {t["state"] for t in json.loads(again.stdout)} == {"exists"} and not again.stderr
    found = describe(run_millrace, place)
    assert found["requests"]["retention_ms"] == 24 * 3600 * 1000
    assert found["events"]["cleanup"] == "compact"
    assert found["results"]["warnings"] == ["replicas < 3", "min ISR < 2"]
    table = run_millrace(["topics", "describe", *place]).stdout
    assert "REPLICAS" in table and "replicas < 3, min ISR < 2" in table


def test_topics_create_production_needs_three_brokers(run_millrace, place):
    done = run_millrace(["topics", "create", *place, "--production"], check=False)
    assert done.returncode == 2
    assert "3 replicas need 3 brokers" in done.stderr
    nothing = run_millrace(["topics", "describe", *place])
    assert "millrace topics create" in nothing.stderr


@pytest.mark.parametrize("args, message", [
    (["--min-isr", "2"], "--min-isr 2 needs --replication-factor 2"),
    (["--production", "--replication-factor", "2"], "--replication-factor excludes --production"),
])
def test_topics_create_refuses_flags_that_contradict(run_millrace, place, args, message):
    done = run_millrace(["topics", "create", *place, *args], check=False)
    assert done.returncode == 2 and message in done.stderr


def test_topics_create_on_a_local_log_has_no_replicas(run_millrace, local_dir):
    done = run_millrace(["topics", "create", "--data", local_dir / "log", "--production"],
                        check=False)
    assert done.returncode == 2 and "for a Kafka cluster" in done.stderr


# -- send, serve, results, dlq, verify ------------------------------------------------------------


@pytest.mark.parametrize("command", ["send", "results", "dlq list", "verify"])
def test_a_topic_that_is_missing_is_named_with_what_to_do(run_millrace, place, command):
    done = run_millrace([*command.split(), *place], input="{}", check=False)
    assert done.returncode == 1
    assert "does not exist" in done.stderr and "millrace topics create" in done.stderr


def test_serve_names_the_topics_that_are_missing(run_millrace, place, broker, models):
    done = run_millrace(["serve", *place, "--models", models, "-s", "http.admin_listen="],
                        check=False)
    assert done.returncode == 1
    for name in ("requests", "results", "dlq"):
        assert f"-missing.{name}" in done.stderr
    assert f"millrace topics create -b {broker.bootstrap}" in done.stderr


def test_requests_become_results_and_dead_letters(run_millrace, place, worker, models):
    create(run_millrace, place)
    bodies = [request(i) for i in range(400)] + [request(400, input=[1])]
    run_millrace(["send", *place], input=lines(bodies))
    with worker(*place, "--models", models) as running:
        wait_until(lambda: describe(run_millrace, place)["requests"].get("lag") == 0)
        assert running.stop() == 0
        assert "delivery_not_exactly_once" not in running.log.read_text()
    code, report = verify_at(run_millrace, place)
    assert (code, report["ok"], report["requests"]) == (0, True, 401)
    done = run_millrace(["results", *place, "--request-id", "r-7", "-o", "json"])
    assert json.loads(done.stdout)["output"] == [1011.0]
    (letter,) = [json.loads(line) for line in
                 run_millrace(["dlq", "list", *place, "-o", "json"]).stdout.splitlines()]
    assert letter["reason"] == "invalid_shape"
    where = run_millrace(["dlq", "list", *place]).stdout.splitlines()[1].split()[0]
    assert "invalid_shape" in run_millrace(["dlq", "show", *place, where]).stdout


def verify_at(run_millrace, place, *args):
    done = run_millrace(["verify", *place, "-o", "json", *args], check=False)
    return done.returncode, json.loads(done.stdout)


def test_verify_beside_a_busy_worker_raises_no_false_alarm(run_millrace, place, worker, models,
                                                           millrace, tmp_path):
    create(run_millrace, place)
    path = tmp_path / "requests.ndjson"
    path.write_text(lines(request(i) for i in range(20_000)))
    with worker(*place, "--models", models) as running:
        run_millrace(["send", *place, path, "--limit", "1000"])
        wait_until(lambda: describe(run_millrace, place)["requests"].get("lag") == 0)
        run_millrace(["send", *place, path, "--repeat", "5"])
        for _ in range(3):
            code, report = verify_at(run_millrace, place)
            assert code == 0, report
        assert running.stop() == 0


def test_verify_names_a_transaction_that_hangs(run_millrace, place, worker, models, broker):
    create(run_millrace, place)
    run_millrace(["send", *place], input=lines(request(i) for i in range(50)))
    with worker(*place, "--models", models):
        wait_until(lambda: describe(run_millrace, place)["requests"].get("lag") == 0)
    results = describe(run_millrace, place)["results"]
    end = results["partitions"][1]["end"]
    producer = Producer(broker.client_config(transactional_id="hangs",
                                             transaction_timeout_ms=60_000))
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(results["topic"], b"x", b"k", partition=1)
    producer.flush(30)
    code, report = verify_at(run_millrace, place, "--open-wait", "2s")
    assert (code, report["ok"], report["open_transactions"]) == (5, False, 1)
    (example,) = report["examples"]["open_transactions"]
    assert example["where"] == f"{results['topic']}:1:{end}"
    producer.abort_transaction(30)
    code, report = verify_at(run_millrace, place)
    assert (code, report["ok"], report["open_transactions"]) == (0, True, 0)


def test_serve_warns_of_a_weaker_delivery_mode(run_millrace, place, worker, models):
    create(run_millrace, place)
    with worker(*place, "--models", models, "-s", "delivery.mode=at-least-once") as running:
        assert running.stop() == 0
        assert running.log.read_text().count("delivery_not_exactly_once") == 1


def test_serve_takes_unsafe_properties_only_when_told_to(run_millrace, place, worker, models):
    create(run_millrace, place)
    weak = ["-X", "isolation.level=read_uncommitted"]
    done = run_millrace(["serve", *place, "--models", models, *weak], check=False)
    assert done.returncode == 3 and "isolation.level" in done.stderr
    with worker(*place, "--models", models, *weak, "--unsafe") as running:
        assert running.stop() == 0
        assert "isolation.level" in running.log.read_text()


def test_serve_waits_for_a_broker_that_comes_later(run_millrace, tmp_path, worker, models):
    cluster = KafkaCluster(tmp_path / "late")
    try:
        cluster.start()
        create(run_millrace, ["-b", cluster.bootstrap])
        cluster.stop()
        with worker("-b", cluster.bootstrap, "--models", models, "--startup-timeout", "90s",
                    ready=False) as running:
            time.sleep(3)
            assert running.process.poll() is None
            cluster.restart()
            running.wait_ready(60)
            assert running.stop() == 0
    finally:
        cluster.kill()


def test_serve_gives_up_on_a_broker_that_does_not_come(run_millrace, models):
    started = time.monotonic()
    done = run_millrace(["serve", "-b", "127.0.0.1:1", "--models", models, "--startup-timeout",
                         "2s", "-s", "http.admin_listen="], check=False)
    assert done.returncode == 4 and "127.0.0.1:1" in done.stderr
    assert time.monotonic() - started < 20


def test_serve_stops_on_request_while_it_waits(worker, models):
    with worker("-b", "127.0.0.1:1", "--models", models, "--startup-timeout", "120s",
                ready=False) as running:
        # Its thread for signals is there: before, one ends the process.
        wait_until(lambda: "mr-signals" in running.thread_names())
        assert running.stop(signal.SIGTERM) == 0


# -- demo and bench -------------------------------------------------------------------------------


def test_demo_on_a_cluster_is_audited_and_says_what_to_type_next(run_millrace, broker, local_dir):
    done = run_millrace(["demo", "--kafka", "-b", broker.bootstrap, "--requests", "5000",
                         "--data", local_dir / "demo"])
    assert "verify: ok" in done.stdout
    assert re.search(r"The topics millrace-demo-\S+\.requests, .* stay in the cluster", done.stdout)
    commands = re.findall(r"^  millrace (.+)$", done.stdout, re.MULTILINE)
    assert len(commands) == 5
    for command in commands:
        run_millrace(command.split())


def test_bench_on_a_cluster_uses_what_was_preloaded_again(run_millrace, broker):
    prefix = f"bench-{time.time_ns():x}"

    def bench(requests, *args, check=True):
        return run_millrace(["bench", "--models", DEMO_MODELS, "--model", "cancer-mlp",
                             "--transport", "kafka", "-b", broker.bootstrap, "--partitions", "4",
                             "--requests", requests, "--topics", prefix, "-o", "json", *args],
                            check=check)

    first = json.loads(bench(5000, "--latency-rate", "0").stdout)
    assert first["transport"] == "kafka" and first["delivery_mode"] == "exactly-once"
    assert first["requests_topic"] == f"{prefix}.requests"
    assert first["commits"] > 0 and first["transactions"]["committed"] == first["commits"]
    assert {"intake", "exec", "commit", "librdkafka"} <= set(first["thread_cpu_us_per_request"])
    second = json.loads(bench(5000, "--latency-seconds", "1", "-s",
                              "delivery.mode=at-least-once").stdout)
    assert second["delivery_mode"] == "at-least-once"
    for field in ("requests", "seconds", "requests_per_second", "cpu_seconds",
                  "cpu_us_per_request", "p50_ms", "p95_ms", "p99_ms", "max_rss_mib"):
        assert second[field] > 0, field
    refused = bench(6000, check=False)
    assert refused.returncode == 1 and "not the 6000 asked for" in refused.stderr
