"""Requests with known answers, published as a user's own client would."""

import dataclasses
import json
import time
import uuid

from confluent_kafka import Producer

LINEAR = "linear"
SLOW = "slow"
SLOW_SECONDS = 8
SLOW_VALUE = 77  # A row that begins with it is slow.
CRASH = "crash"
CRASH_VALUE = -13  # A row that begins with it ends the worker.
FLUSH_TIMEOUT = 60
PACE_EVERY = 50

# Each poison: what it makes of request `number`, and the reason a dead letter gives for it.
POISONS = (
    (lambda number: b'{"request_id": "r-%d", "input": [1,' % number, "decode"),
    (lambda number: encode(request(number, input=[1, 2])), "invalid_shape"),
    (lambda number: encode(request(number, model_id="no-such-model")), "unknown_model"),
    (lambda number: encode(request(number, input=[1, "two", 3, 4])), "invalid_value"),
)


def request(number, tenants=7, **extra):
    """Request `number` of the model `linear`, whose answer is expected_output(body)."""
    body = {
        "request_id": f"r-{number}",
        "tenant_id": f"tenant-{number % tenants}",
        "model_id": LINEAR,
        "input": [number % 1000, 0, 0, 1],
    }
    body.update(extra)
    return body


def first_is_slow(number, tenants=7):
    """As request(), but the first takes SLOW_SECONDS, in the model `slow`."""
    if number != 0:
        return request(number, tenants)
    return request(0, tenants, tenant_id="slow", model_id=SLOW, input=[SLOW_VALUE, 0, 0, 0])


def expected_output(body, _result=None):
    """What `linear` answers, x . [1, 2, 3, 4], and the others, the first number."""
    if body["model_id"] in (SLOW, CRASH):
        return [float(body["input"][0])]
    return [float(sum(x * w for x, w in zip(body["input"], (1, 2, 3, 4))))]


def encode(body):
    return json.dumps(body, separators=(",", ":")).encode()


def key_of(body):
    return f"{body['tenant_id']}|{body['model_id']}".encode()


@dataclasses.dataclass
class Published:
    """What became visible: how many requests, and which of them are poisoned, by number."""

    count: int = 0
    poisoned: dict = dataclasses.field(default_factory=dict)
    aborted: int = 0


class _Sink:
    """A producer that notices what was not delivered."""

    def __init__(self, cluster, **config):
        # The partitioner of the Java client: every client must agree where a key belongs.
        self.producer = Producer(cluster.client_config(
            partitioner="murmur2_random", linger_ms=5, acks="all", enable_idempotence=True,
            **config))
        self._failures = []

    def send(self, topic, key, value, headers):
        while True:
            try:
                self.producer.produce(topic, value, key, headers=headers, on_delivery=self._note)
                self.producer.poll(0)
                return
            except BufferError:
                self.producer.poll(0.1)

    def flush(self):
        left = self.producer.flush(FLUSH_TIMEOUT)
        assert left == 0, f"{left} requests were not delivered within {FLUSH_TIMEOUT} s"
        assert not self._failures, f"not delivered: {self._failures[:3]}"

    def _note(self, error, _):
        if error is not None:
            self._failures.append(str(error))


def publish(cluster, topic, count, *, first=0, tenants=7, poison_every=0, transactional=False,
            transaction_size=200, abort_every=0, headers=True, make=request, seconds=0, stop=None):
    """Publishes requests first..first+count-1 in order of their numbers; returns Published.

    In about `seconds`, evenly, or as fast as it goes. Ends early when the event `stop` is set.

    poison_every=k poisons every k-th, taking turns among POISONS. transactional commits every
    transaction_size requests; abort_every=k puts a transaction that is aborted, with its records in
    the log, before every k-th one. make(number, tenants=) makes a request's body.
    """
    assert transactional or not abort_every, "only a transaction can be aborted"
    done = Published()
    config = {"transactional_id": f"publish-{uuid.uuid4().hex}"} if transactional else {}
    sink = _Sink(cluster, **config)
    if transactional:
        sink.producer.init_transactions(30)
    size = transaction_size if transactional else max(count, 1)
    started = time.monotonic()
    for at in range(first, first + count, size):
        numbers = range(at, min(at + size, first + count))
        if abort_every and (at - first) // size % abort_every == 0:
            done.aborted += _abort(sink, topic, numbers, make, tenants)
        if transactional:
            sink.producer.begin_transaction()
        for number in numbers:
            body = make(number, tenants=tenants)
            value = encode(body)
            if poison_every and number % poison_every == poison_every - 1:
                spoil, reason = POISONS[number // poison_every % len(POISONS)]
                value, done.poisoned[number] = spoil(number), reason
            if seconds and number % PACE_EVERY == 0:
                due = started + (number - first) * seconds / count
                time.sleep(max(0.0, due - time.monotonic()))
            if stop is not None and stop.is_set():
                break
            sink.send(topic, key_of(body), value,
                      [("model_id", body["model_id"].encode())]
                      if headers and done.poisoned.get(number) != "unknown_model" else [])
        sink.flush()
        if transactional:
            sink.producer.commit_transaction(FLUSH_TIMEOUT)
    done.count = count
    return done


def _abort(sink, topic, numbers, make, tenants):
    """Requests that nobody may ever answer; they are in the log before the transaction ends."""
    sink.producer.begin_transaction()
    for number in numbers:
        body = make(number, tenants=tenants) | {"request_id": f"aborted-{number}"}
        sink.send(topic, key_of(body), encode(body), [("model_id", body["model_id"].encode())])
    sink.flush()
    sink.producer.abort_transaction(FLUSH_TIMEOUT)
    return len(numbers)
