"""The judge sees every fault planted in a log that is right, and none in one that is.

The outcomes are written here, by a transactional client as the worker is one, so that the judge is
held to something before it judges the worker.
"""

import dataclasses
import json
import uuid

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

import judge as judge_module
from judge import judge
from publish import encode, expected_output, key_of, publish, request
from waiting import wait_until

COUNT = 120
POISON_EVERY = 20
TRANSACTION = 25


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What is to be written for the request at `source`."""

    source: tuple
    topic: str
    partition: int
    key: bytes
    value: bytes
    headers: tuple

    def with_header(self, name, value):
        return dataclasses.replace(self, headers=tuple(
            (key, value if key == name else old) for key, old in self.headers))


def right_body(value):
    """A request that has a result, or None for the poisons of publish()."""
    try:
        body = json.loads(value)
    except ValueError:
        return None
    right = (body["model_id"] == "linear" and len(body["input"]) == 4
             and all(isinstance(number, int) for number in body["input"]))
    return body if right else None


def answer(topics, row):
    """The right outcome of a request, in the partition of its number."""
    body = right_body(row.value)
    if body is not None:
        value = {name: body[name] for name in ("request_id", "tenant_id", "model_id")}
        value |= {"status": "ok", "output": expected_output(body)}
        return Outcome(row.place, topics.results, row.partition, body["request_id"].encode(),
                       json.dumps(value).encode(),
                       (("model_id", b"linear"),
                        ("source", "{}:{}:{}".format(*row.place).encode())))
    return Outcome(row.place, topics.dlq, row.partition % 2, row.key.split(b"|")[0], row.value, (
        ("original_topic", row.topic.encode()),
        ("original_partition", str(row.partition).encode()),
        ("original_offset", str(row.offset).encode()),
        ("original_key", row.key), ("reason", b"decode")))


class Writer:
    """Writes outcomes in transactions, and aborts on request."""

    def __init__(self, kafka):
        self.producer = Producer(kafka.client_config(transactional_id=uuid.uuid4().hex))
        self.producer.init_transactions(30)

    def begin(self, outcomes):
        self.producer.begin_transaction()
        for outcome in outcomes:
            self.producer.produce(outcome.topic, outcome.value, outcome.key, outcome.partition,
                                  headers=list(outcome.headers))
        assert self.producer.flush(30) == 0

    def commit(self, outcomes):
        for at in range(0, len(outcomes), TRANSACTION):
            self.begin(outcomes[at:at + TRANSACTION])
            self.producer.commit_transaction(30)

    def abort(self, outcomes):
        self.begin(outcomes)
        self.producer.abort_transaction(30)


@pytest.fixture
def outcomes(kafka, topics):
    """The right outcomes of requests that were published, in the order of the requests."""
    published = publish(kafka, topics.requests, COUNT, poison_every=POISON_EVERY)
    assert published.count == COUNT and len(published.poisoned) == COUNT // POISON_EVERY
    requests, _ = judge_module.rows(kafka, topics.requests)
    return [answer(topics, row) for row in requests]


@pytest.fixture
def writer(kafka):
    return Writer(kafka)


def results_of(outcomes, topics):
    return [one for one in outcomes if one.topic == topics.results]


def test_right_log_passes(kafka, topics, outcomes, writer):
    writer.commit(outcomes)
    report = judge(kafka, topics, answer=expected_output)
    assert report.ok, report
    assert report.requests == COUNT
    assert report.dead_letters == COUNT // POISON_EVERY
    assert report.results + report.dead_letters == COUNT
    assert report.ordered_pairs > COUNT // 2, "the order of hardly anything was looked at"
    assert report.aborted_results == report.aborted_dead_letters == 0


def test_empty_log_is_no_pass(kafka, topics):
    report = judge(kafka, topics)
    assert not report.ok and not report.faults


def drop_one(outcomes, topics):
    outcomes.remove(results_of(outcomes, topics)[10])


def drop_the_last(outcomes, topics):
    outcomes.pop()


def duplicate_one(outcomes, topics):
    outcomes.append(results_of(outcomes, topics)[-1])


def duplicate_a_dead_letter(outcomes, topics):
    outcomes.append([one for one in outcomes if one.topic == topics.dlq][-1])


def result_and_dead_letter(outcomes, topics):
    """A dead letter for a request that has its result, in its right place in the order."""
    result = outcomes[-1]
    assert result.topic == topics.results
    body = request(int(result.key.removeprefix(b"r-")))
    row = judge_module.Row(*result.source, key_of(body), b"", {})
    letter = answer(topics, row)
    outcomes.append(dataclasses.replace(letter, value=encode(body)))


def swap_two_of_a_key(outcomes, topics):
    """Two results of one tenant, who has one key, change places."""
    seen = {}
    for at, one in enumerate(outcomes):
        if one.topic == topics.results:
            tenant = json.loads(one.value)["tenant_id"]
            if tenant in seen:
                first = seen[tenant]
                outcomes[first], outcomes[at] = outcomes[at], outcomes[first]
                return
            seen[tenant] = at


def orphan(outcomes, topics):
    outcomes.append(results_of(outcomes, topics)[0].with_header(
        "source", f"{topics.requests}:0:{10 * COUNT}".encode()))


def orphan_of_another_topic(outcomes, topics):
    outcomes.append(results_of(outcomes, topics)[0].with_header("source", b"elsewhere:0:0"))


def no_source(outcomes, topics):
    at = outcomes.index(results_of(outcomes, topics)[3])
    outcomes[at] = dataclasses.replace(outcomes[at], headers=(("model_id", b"linear"),))


def wrong_request_id(outcomes, topics):
    """Two neighbours tell of each other's request: the sources are right, the words are not."""
    first, second = results_of(outcomes, topics)[:2]
    a, b = outcomes.index(first), outcomes.index(second)
    outcomes[a] = dataclasses.replace(first, key=second.key, value=second.value)
    outcomes[b] = dataclasses.replace(second, key=first.key, value=first.value)


def wrong_key(outcomes, topics):
    one = results_of(outcomes, topics)[5]
    outcomes[outcomes.index(one)] = dataclasses.replace(one, key=b"somebody-else")


def wrong_output(outcomes, topics):
    one = results_of(outcomes, topics)[5]
    value = json.dumps(json.loads(one.value) | {"output": [0.5]}).encode()
    outcomes[outcomes.index(one)] = dataclasses.replace(one, value=value)


def changed_bytes(outcomes, topics):
    (one, *_) = [one for one in outcomes if one.topic == topics.dlq]
    outcomes[outcomes.index(one)] = dataclasses.replace(one, value=one.value + b" ")


FAULTS = [
    (drop_one, {"missing": 1}),
    (drop_the_last, {"missing": 1}),
    (duplicate_one, {"duplicated": 1}),
    (duplicate_a_dead_letter, {"duplicated": 1}),
    (result_and_dead_letter, {"duplicated": 1}),
    (swap_two_of_a_key, {"order": 1}),
    (orphan, {"orphaned": 1}),
    (orphan_of_another_topic, {"orphaned": 1}),
    (no_source, {"unreadable": 1, "missing": 1}),
    (wrong_request_id, {"wrong": 2}),
    (wrong_key, {"wrong": 1}),
    (wrong_output, {"wrong": 1}),
    (changed_bytes, {"wrong": 1}),
]


@pytest.mark.parametrize("plant,found", FAULTS, ids=lambda value: getattr(value, "__name__", ""))
def test_planted_fault_is_found(kafka, topics, outcomes, writer, plant, found):
    plant(outcomes, topics)
    writer.commit(outcomes)
    report = judge(kafka, topics, answer=expected_output)
    faults = report.faults
    # Each of the fields of a result that tells of another request is a fault of its own.
    if "wrong" in found:
        assert faults.pop("wrong") >= found["wrong"], report
        found = {name: count for name, count in found.items() if name != "wrong"}
    assert faults == found, report
    assert not report.ok


def test_aborted_outcomes_do_not_count(kafka, topics, outcomes, writer):
    """Whatever an aborted transaction holds is neither an outcome nor a duplicate."""
    writer.abort(outcomes[:30])
    writer.commit(outcomes)
    writer.abort(outcomes[-10:])
    report = judge(kafka, topics)
    assert report.ok, report
    assert report.aborted_results + report.aborted_dead_letters == 40
    assert report.aborted_dead_letters > 0
    markers = judge_module.markers(kafka, topics.results)
    assert markers["ABORT"] >= 2 and markers["COMMIT"] >= COUNT // TRANSACTION


def test_aborted_outcome_leaves_its_request_missing(kafka, topics, outcomes, writer):
    lone = results_of(outcomes, topics)[7]
    outcomes.remove(lone)
    writer.commit(outcomes)
    writer.abort([lone])
    report = judge(kafka, topics)
    assert report.faults == {"missing": 1} and report.missing == [lone.source], report
    assert report.aborted_results == 1


def test_open_transaction_is_found(kafka, topics, outcomes, writer):
    writer.commit(outcomes[:-1])
    writer.begin(outcomes[-1:])
    report = judge(kafka, topics)
    assert report.faults == {"missing": 1, "open_partitions": 1}, report
    writer.producer.commit_transaction(30)
    assert judge(kafka, topics).ok


def test_aborted_requests_want_no_outcome(kafka, topics, writer):
    published = publish(kafka, topics.requests, 100, transactional=True, transaction_size=20,
                        abort_every=2)
    assert published.aborted == 60
    # A transaction is decided before it is ended in each partition.
    wait_until(lambda: not judge_module.open_partitions(
        kafka, topics.requests, judge_module.end_offsets(kafka, topics.requests)), 20)
    requests, _ = judge_module.rows(kafka, topics.requests)
    assert [row for row in requests if b"aborted" in row.value] == []
    outcomes = [answer(topics, row) for row in requests]
    writer.commit(outcomes)
    report = judge(kafka, topics)
    assert report.ok and report.requests == 100, report
    # An outcome of a request that was aborted is nobody's.
    everything, _ = judge_module.scan(kafka, topics.requests, "read_uncommitted")
    (never, *_) = [m for m in everything if b"aborted" in m.value()]
    source = f"{topics.requests}:{never.partition()}:{never.offset()}".encode()
    writer.commit([outcomes[0].with_header("source", source)])
    assert judge(kafka, topics).faults == {"orphaned": 1}


def commit_group(kafka, topics, offsets):
    consumer = Consumer(kafka.client_config(group_id=topics.group))
    consumer.commit(offsets=[TopicPartition(topics.requests, partition, offset)
                             for partition, offset in offsets.items()], asynchronous=False)
    consumer.close()


def test_outcomes_are_held_to_the_committed_offsets(kafka, topics, outcomes, writer):
    """Below them every request has its outcome, at or above them none has."""
    ends = judge_module.end_offsets(kafka, topics.requests)
    busy = max(ends, key=ends.get)
    last = next(one for one in outcomes if one.source == (topics.requests, busy, ends[busy] - 1))
    outcomes.remove(last)
    writer.commit(outcomes)
    commit_group(kafka, topics, {**ends, busy: ends[busy] - 1})
    report = judge(kafka, topics, group=topics.group)
    assert report.ok and report.pending == 1, report
    commit_group(kafka, topics, ends)
    assert judge(kafka, topics, group=topics.group).faults == {"missing": 1}
    writer.commit([last])
    assert judge(kafka, topics, group=topics.group).ok
    commit_group(kafka, topics, {busy: ends[busy] - 2})
    assert judge(kafka, topics, group=topics.group).faults == {"early": 2}


def test_group_that_never_came_answered_nothing(kafka, topics, outcomes, writer):
    report = judge(kafka, topics, group=topics.group)
    assert report.ok and report.pending == COUNT
    writer.commit(outcomes)
    assert judge(kafka, topics, group=topics.group).faults == {"early": COUNT}
