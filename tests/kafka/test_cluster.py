"""The brokers of the tests do what the tests of exactly-once rely on."""

import subprocess
import sys
import textwrap
import time

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from cluster import ROOT


def produce(cluster, topic, values, **config):
    producer = Producer(cluster.client_config(linger_ms=0, **config))
    failures = []
    for value in values:
        producer.produce(topic, value,
                         on_delivery=lambda error, _: error and failures.append(error))
    assert producer.flush(30) == 0
    assert not failures


def count(cluster, topic, partitions=4):
    """Records by the broker's own count of offsets."""
    consumer = Consumer(cluster.client_config(group_id="unused"))
    try:
        return sum(consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=20)[1]
                   for p in range(partitions))
    finally:
        consumer.close()


def test_what_was_acknowledged_outlives_a_kill(own_kafka, make_topics):
    topics = make_topics(own_kafka)
    produce(own_kafka, topics.requests, [b"x"] * 100)
    own_kafka.kill()
    with pytest.raises(KafkaException):
        own_kafka.admin().list_topics(timeout=1)
    own_kafka.restart()
    assert count(own_kafka, topics.requests) == 100
    own_kafka.stop()
    own_kafka.restart()
    assert count(own_kafka, topics.requests) == 100


def test_paused_broker_answers_nothing_and_goes_on(own_kafka, make_topics):
    topics = make_topics(own_kafka)
    own_kafka.pause()
    with pytest.raises(KafkaException):
        own_kafka.admin().list_topics(timeout=1)
    own_kafka.resume()
    produce(own_kafka, topics.requests, [b"x"] * 10)
    assert count(own_kafka, topics.requests) == 10


def test_topic_that_nobody_created_does_not_appear(kafka):
    producer = Producer(kafka.client_config(allow_auto_create_topics=True))
    producer.produce("nobody-made-this", b"x")
    producer.flush(2)
    producer.purge()
    assert "nobody-made-this" not in kafka.admin().list_topics(timeout=10).topics


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_both_group_protocols_with_short_sessions(kafka, topics, protocol):
    produce(kafka, topics.requests, [b"x"] * 20)
    extra = {"partition_assignment_strategy": "cooperative-sticky", "session_timeout_ms": 1500,
             "heartbeat_interval_ms": 300} if protocol == "classic" else {}
    consumer = Consumer(kafka.client_config(group_id=topics.group, group_protocol=protocol,
                                            auto_offset_reset="earliest", **extra))
    consumer.subscribe([topics.requests])
    got, deadline = 0, time.monotonic() + 30
    while got < 20 and time.monotonic() < deadline:
        message = consumer.poll(0.5)
        got += message is not None and message.error() is None
    consumer.commit(asynchronous=False)
    consumer.close()
    assert got == 20
    listed = kafka.cli("consumer-groups", "--describe", "--group", topics.group).stdout
    assert topics.requests in listed


def test_group_of_one_test_gets_its_own_session(kafka, topics):
    kafka.set_group(topics.group, session_ms=2000, heartbeat_ms=400)
    listed = kafka.cli("configs", "--describe", "--entity-type", "groups", "--entity-name",
                       topics.group).stdout
    assert "consumer.session.timeout.ms=2000" in listed


def test_three_nodes_outlive_one(start_kafka, make_topics):
    cluster = start_kafka(nodes=3)
    topics = make_topics(cluster)
    produce(cluster, topics.requests, [b"x"] * 50, acks="all")
    cluster.kill(1)
    produce(cluster, topics.requests, [b"x"] * 50, acks="all")
    cluster.restart(1)
    assert count(cluster, topics.requests) == 100


def test_broker_ends_with_the_process_of_the_tests(tmp_path):
    """A run that is killed leaves no broker behind, even one started by a thread that ended."""
    script = textwrap.dedent(f"""
        import os, signal, sys, threading
        sys.path.insert(0, {str(ROOT / "tests/kafka")!r})
        from cluster import KafkaCluster
        cluster = KafkaCluster({str(tmp_path / "orphan")!r})
        thread = threading.Thread(target=cluster.start)
        thread.start()
        thread.join()
        assert cluster.nodes[0].running
        print(cluster.nodes[0].process.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True,
                          timeout=120)
    status = f"/proc/{int(done.stdout)}/stat"
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            with open(status) as stat:
                if stat.read().rsplit(") ", 1)[1].startswith("Z"):
                    return
        except FileNotFoundError:
            return
        time.sleep(0.05)
    pytest.fail("the broker outlived the process that started it")
