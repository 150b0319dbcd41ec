"""What lies in the topics: poisons, giants, what was aborted; and what kcat prints of an outcome.
"""

import hashlib
import json
import subprocess

from confluent_kafka import Consumer, Producer

from judge import judge, rows
from publish import encode, expected_output, key_of, publish, request
from workload import SHORT_SESSION, SMALL_UNITS, Progress, settled, verdict, verify

MIB = 1 << 20

RESULT_HEADERS = {"model_id", "model_version", "tenant_id", "source", "traceparent", "colour"}
LETTER_HEADERS = {"original_topic", "original_partition", "original_offset", "original_timestamp",
                  "original_key", "reason", "detail", "failed_at", "attempts", "model_id",
                  "tenant_id", "consumer_group", "traceparent", "colour"}
CONNECT_HEADERS = {f"__connect.errors.{name}" for name in (
    "topic", "partition", "offset", "connector.name", "stage", "exception.class.name",
    "exception.message")}


class Sender:
    """One record after the other, each delivered before the next."""

    def __init__(self, cluster, **config):
        self.producer = Producer(cluster.client_config(message_max_bytes=16 * MIB, **config))

    def send(self, topic, value, key=b"tenant-1|linear", partition=0, headers=()):
        failures = []
        self.producer.produce(topic, value, key, partition, headers=list(headers),
                              on_delivery=lambda error, _: error and failures.append(error))
        assert self.producer.flush(30) == 0 and not failures, failures


def answer_all(cluster, topics, serve, *args):
    with serve(cluster, topics, *SHORT_SESSION, *args) as worker:
        Progress(cluster, topics).wait_idle()
        assert worker.stop() == 0


def kcat(cluster, topic):
    """The only record of a topic, as kcat prints it."""
    done = subprocess.run(["kcat", "-b", cluster.bootstrap, "-C", "-t", topic, "-e", "-q", "-J"],
                          stdout=subprocess.PIPE, timeout=60, check=True)
    (line,) = done.stdout.decode().splitlines()
    record = json.loads(line)
    names, values = record["headers"][::2], record["headers"][1::2]
    assert len(set(names)) == len(names), names
    return record, dict(zip(names, values))


def test_kcat_prints_a_result(kafka, topics, serve, models):
    body = request(7, metadata={"note": "kept"})
    Sender(kafka).send(topics.requests, encode(body), key_of(body), 2, [
        ("model_id", b"linear"), ("traceparent", b"00-1-2-01"), ("colour", b"blue")])
    answer_all(kafka, topics, serve)
    record, headers = kcat(kafka, topics.results)
    assert record["key"] == "r-7"
    assert set(headers) == RESULT_HEADERS
    assert headers == {"model_id": "linear", "model_version": "1", "tenant_id": "tenant-0",
                       "source": f"{topics.requests}:2:0", "traceparent": "00-1-2-01",
                       "colour": "blue"}
    value = json.loads(record["payload"])
    assert value.pop("inferred_at").endswith("Z") and value.pop("latency_ms") >= 0
    value.pop("enqueued_at", None)
    model = models / "linear" / "1" / "model.onnx"
    assert value == {"request_id": "r-7", "tenant_id": "tenant-0", "model_id": "linear",
                     "model_version": "1",
                     "model_sha256": hashlib.sha256(model.read_bytes()).hexdigest(),
                     "status": "ok", "output": expected_output(body), "batch_size": 1,
                     "metadata": {"note": "kept"}}


def test_kcat_prints_a_dead_letter(kafka, topics, serve):
    body = request(8, input=[1, 2])
    value = b" " + encode(body)  # Its very bytes, not what they mean.
    Sender(kafka).send(topics.requests, value, key_of(body), 1, [
        ("model_id", b"linear"), ("traceparent", b"00-1-2-01"), ("colour", b"blue"),
        ("reason", b"an earlier one"), ("attempts", b"1")])
    answer_all(kafka, topics, serve)
    record, headers = kcat(kafka, topics.dlq)
    assert record["key"] == "tenant-1" and record["payload"] == value.decode()
    assert set(headers) == LETTER_HEADERS | CONNECT_HEADERS
    assert headers["original_topic"] == headers["__connect.errors.topic"] == topics.requests
    assert headers["original_partition"] == headers["__connect.errors.partition"] == "1"
    assert headers["original_offset"] == headers["__connect.errors.offset"] == "0"
    assert int(headers["original_timestamp"]) > 0
    assert headers["original_key"] == "tenant-1|linear"
    assert headers["reason"] == "invalid_shape" and "\n" not in headers["detail"]
    assert headers["detail"] == headers["__connect.errors.exception.message"] != ""
    assert headers["__connect.errors.exception.class.name"] == "invalid_shape"
    assert headers["failed_at"].endswith("Z") and int(headers["attempts"]) >= 1
    assert headers["model_id"] == "linear" and headers["tenant_id"] == "tenant-1"
    assert headers["consumer_group"] == topics.group
    assert headers["traceparent"] == "00-1-2-01" and headers["colour"] == "blue"


def test_headers_of_a_request_travel_as_they_are(kafka, topics, serve):
    """To its result and, of one that cannot be read, to its dead letter: bytes, order, repetition.
    """
    sent = [("empty", b""), ("null", None), ("twice", b"1"), ("twice", b"2"), ("n" * 70, b"long"),
            ("two-bytes", b"v" * 64), ("three-bytes", bytes(range(256)) * 33), ("", b"no name")]
    sent += [(f"many-{number}", b"%d" % number) for number in range(64)]
    sender = Sender(kafka)
    for value in (encode(request(9)), b"{"):
        sender.send(topics.requests, value, key_of(request(9)), 0, sent)
    answer_all(kafka, topics, serve)
    for topic, own in ((topics.results, RESULT_HEADERS), (topics.dlq, LETTER_HEADERS)):
        consumer = Consumer(kafka.client_config(group_id=f"{topics.group}-reader",
                                                auto_offset_reset="earliest"))
        consumer.subscribe([topic])
        message = consumer.poll(30)
        consumer.close()
        assert message is not None and message.error() is None, message
        assert [header for header in message.headers()
                if header[0] not in own | CONNECT_HEADERS] == sent


def test_every_third_is_poison_and_the_rest_is_answered(kafka, topics, serve, run_millrace):
    done = publish(kafka, topics.requests, 3_000, poison_every=3)
    assert len(set(done.poisoned.values())) == 4
    answer_all(kafka, topics, serve, *SMALL_UNITS)
    report = verdict(kafka, topics, requests=3_000, poisoned=done.poisoned)
    assert report.dead_letters == 1_000
    verify(run_millrace, kafka, topics)


def test_partition_of_aborted_requests_alone_leaves_no_lag(kafka, topics, serve):
    sender = Sender(kafka, transactional_id=f"{topics.group}-aborts")
    sender.producer.init_transactions(30)
    sender.producer.begin_transaction()
    sender.send(topics.requests, b"aborted", partition=3)
    sender.producer.abort_transaction(30)
    answer_all(kafka, topics, serve)
    settled(kafka, topics)
    assert rows(kafka, topics.dlq)[0] == []


def giant(number, size):
    """Request `number`, not to be decoded, of `size` bytes."""
    start = b'{"request_id": "r-%d", "input": [1, "' % number
    return start + b"x" * (size - len(start))


def test_giants_that_are_dead_letters_do_not_block_their_partition(kafka, topics, serve):
    """One fits the topic with all the headers of a dead letter, one does not and is cut."""
    sender = Sender(kafka)
    fits, cut = giant(1, 1_000_000), giant(2, 1_048_400)
    for number, value in ((0, encode(request(0))), (1, fits), (2, cut), (3, encode(request(3)))):
        sender.send(topics.requests, value)
    answer_all(kafka, topics, serve)
    report = judge(kafka, topics, answer=expected_output)
    assert (report.results, report.dead_letters) == (2, 2), report
    assert report.faults == {"wrong": 1} and "request's bytes" in report.wrong[0], report
    letters = {row.headers["original_offset"]: row for row in rows(kafka, topics.dlq)[0]}
    assert letters[b"1"].value == fits and "original_value_bytes" not in letters[b"1"].headers
    assert letters[b"2"].headers["original_value_bytes"] == str(len(cut)).encode()
    assert cut.startswith(letters[b"2"].value) and len(letters[b"2"].value) > 1_000_000


def test_results_over_the_limit_are_dead_letters(kafka, topics, serve):
    def make(number, tenants):
        extra = {"metadata": {"note": "x" * 2000}} if number % 50 == 0 else {}
        return request(number, tenants, **extra)

    publish(kafka, topics.requests, 500, make=make)
    answer_all(kafka, topics, serve, "-s", "limits.max_result_bytes=1KiB")
    verdict(kafka, topics, requests=500,
            poisoned={number: "output_too_large" for number in range(0, 500, 50)})
