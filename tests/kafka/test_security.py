"""A cluster that asks who is there, and properties that are not to be had."""

import time

import pytest

from cluster import KafkaCluster
from publish import publish
from workload import SHORT_SESSION, Progress, verdict, verify

USER, PASSWORD = "millrace", "secret"
JAAS = ("org.apache.kafka.common.security.plain.PlainLoginModule required "
        f'username="{USER}" password="{PASSWORD}" user_{USER}="{PASSWORD}";')


class SaslCluster(KafkaCluster):
    """A broker whose clients have to give a password."""

    def __init__(self, folder):
        super().__init__(folder, properties={
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:SASL_PLAINTEXT",
            "sasl.enabled.mechanisms": "PLAIN",
            "sasl.mechanism.inter.broker.protocol": "PLAIN",
            "listener.name.plaintext.plain.sasl.jaas.config": JAAS,
        })

    def client_config(self, **extra):
        return super().client_config(security_protocol="SASL_PLAINTEXT", sasl_mechanism="PLAIN",
                                     sasl_username=USER, sasl_password=PASSWORD, **extra)


def login(password):
    properties = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN",
                  "sasl.username": USER, "sasl.password": password}
    return [word for name, value in properties.items() for word in ("-X", f"{name}={value}")]


@pytest.fixture(scope="module")
def sasl_kafka(tmp_path_factory):
    cluster = SaslCluster(tmp_path_factory.mktemp("sasl"))
    try:
        yield cluster.start()
    finally:
        cluster.kill()


def test_worker_and_commands_log_in(sasl_kafka, make_topics, serve, run_millrace):
    topics = make_topics(sasl_kafka)
    publish(sasl_kafka, topics.requests, 300)
    with serve(sasl_kafka, topics, *SHORT_SESSION, *login(PASSWORD)) as worker:
        Progress(sasl_kafka, topics).wait_idle()
        assert worker.stop() == 0
        assert PASSWORD not in worker.log.read_text()
    verdict(sasl_kafka, topics, requests=300, poisoned={})
    verify(run_millrace, sasl_kafka, topics, *login(PASSWORD))


@pytest.mark.parametrize("command", ["serve", "verify"])
def test_wrong_password_is_told_at_once(command, sasl_kafka, models, run_millrace):
    serve = ["--models", models, "-s", "http.admin_listen="] if command == "serve" else []
    started = time.monotonic()
    done = run_millrace([command, "-b", sasl_kafka.bootstrap, *serve, *login("wrong")], check=False)
    took = time.monotonic() - started
    print(f"exit {done.returncode} after {took:.1f} s: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 3 and took < 5, done.stderr
    last = done.stderr.splitlines()[-1]
    assert "Authentication failed" in last and "sasl." in last, done.stderr
    assert "wrong" not in done.stderr


@pytest.mark.parametrize("name, value, instead", [
    ("enable.auto.commit", "true", "committed together with the outcomes"),
    ("transactional.id", "mine", "kafka.slot"),
    ("session.timeout.ms", "9000", "delivery.transaction_timeout"),
])
def test_property_that_breaks_a_promise_is_refused_with_what_to_do(name, value, instead, kafka,
                                                                   topics, models, run_millrace):
    done = run_millrace(["serve", "-b", kafka.bootstrap, *topics.settings, "--models", models,
                         "-s", "http.admin_listen=", "-X", f"{name}={value}"], check=False)
    assert done.returncode == 3
    assert name in done.stderr and instead in done.stderr, done.stderr


def test_weaker_reading_is_for_those_who_insist(kafka, topics, serve, models, run_millrace):
    weak = ["-X", "isolation.level=read_uncommitted"]
    done = run_millrace(["serve", "-b", kafka.bootstrap, *topics.settings, "--models", models,
                         *weak], check=False)
    assert done.returncode == 3 and "--unsafe" in done.stderr
    with serve(kafka, topics, *weak, "--unsafe") as worker:
        assert worker.stop() == 0
        assert "UNSAFE" in worker.log.read_text() and "WARN" in worker.log.read_text()


def test_missing_topics_are_all_named_with_the_command(kafka, topics, models, run_millrace):
    started = time.monotonic()
    done = run_millrace(["serve", "-b", kafka.bootstrap, *topics.settings, "--models", models,
                         "-s", "topics.results=gone.results", "-s", "topics.dlq=gone.dlq",
                         "-s", "http.admin_listen="], check=False)
    assert done.returncode == 1 and time.monotonic() - started < 10
    last = done.stderr.splitlines()[-1]
    assert "gone.results" in last and "gone.dlq" in last and topics.requests not in last
    assert f"millrace topics create -b {kafka.bootstrap}" in last
