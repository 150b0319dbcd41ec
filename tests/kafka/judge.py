"""The independent judge: exactly one outcome for each request, by what the broker holds.

It shares no code with the binary: it reads the topics with another client and knows only the
public contract. Nothing may write to the topics meanwhile.
"""

import collections
import dataclasses
import json
import re
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

READ_TIMEOUT = 60.0
REASONS = {"decode", "missing_model_id", "unknown_model", "invalid_shape", "invalid_value",
           "too_large", "expired", "inference_error", "inference_timeout", "model_crash",
           "output_too_large", "policy"}


@dataclasses.dataclass(frozen=True)
class Row:
    """A record where it lies."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: dict

    @property
    def place(self):
        return (self.topic, self.partition, self.offset)


@dataclasses.dataclass
class Report:
    """What was found. Each list holds places, (topic, partition, offset), or texts."""

    requests: int = 0
    results: int = 0
    dead_letters: int = 0
    # Faults.
    missing: list = dataclasses.field(default_factory=list)  # requests without an outcome
    duplicated: list = dataclasses.field(default_factory=list)  # requests with several
    orphaned: list = dataclasses.field(default_factory=list)  # outcomes of no visible request
    unreadable: list = dataclasses.field(default_factory=list)  # outcomes that name no request
    early: list = dataclasses.field(default_factory=list)  # requests answered, not committed
    order: list = dataclasses.field(default_factory=list)  # outcomes behind those of a later one
    wrong: list = dataclasses.field(default_factory=list)  # what an outcome should not say
    open_partitions: list = dataclasses.field(default_factory=list)  # a transaction is open there
    # What the check saw, so that a test can tell a good log from an empty one.
    pending: int = 0
    ordered_pairs: int = 0
    aborted_results: int = 0
    aborted_dead_letters: int = 0
    reasons: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    versions: collections.Counter = dataclasses.field(default_factory=collections.Counter)

    FAULTS = ("missing", "duplicated", "orphaned", "unreadable", "early", "order", "wrong",
              "open_partitions")

    @property
    def faults(self):
        """{fault: how many}, only those that occurred."""
        return {name: len(getattr(self, name)) for name in self.FAULTS if getattr(self, name)}

    @property
    def ok(self):
        """No fault, and there was something to judge."""
        return self.requests > 0 and not self.faults

    def __str__(self):
        lines = [f"{self.requests} requests, {self.results} results, {self.dead_letters} dead "
                 f"letters, {self.pending} pending, faults: {self.faults or 'none'}"]
        lines += [f"  {name}: {found}" for name in self.FAULTS
                  for found in getattr(self, name)[:3]]
        return "\n".join(lines)


def _consumer(cluster, isolation, group="judge-that-commits-nothing"):
    return Consumer(cluster.client_config(
        group_id=group, isolation_level=isolation, enable_partition_eof=True,
        enable_auto_commit=False, auto_offset_reset="error", check_crcs=True,
        fetch_wait_max_ms=10))  # An end is told only by a fetch that found nothing.


def _ends(consumer, topic):
    found = consumer.list_topics(topic, timeout=READ_TIMEOUT).topics[topic]
    if found.error is not None:
        raise RuntimeError(f"{topic}: {found.error}")
    return {number: consumer.get_watermark_offsets(
        TopicPartition(topic, number), timeout=READ_TIMEOUT, cached=False)[1]
        for number in found.partitions}


def end_offsets(cluster, topic, isolation="read_committed"):
    """{partition: end}; with read_committed the end is the last stable offset."""
    consumer = _consumer(cluster, isolation)
    try:
        return _ends(consumer, topic)
    finally:
        consumer.close()


def scan(cluster, topic, isolation="read_committed", keep=lambda message: message):
    """(what keep made of each record, {partition: end}) of a topic, from beginning to end."""
    consumer = _consumer(cluster, isolation)
    try:
        ends = _ends(consumer, topic)
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in ends])
        kept, unread, progress = [], set(ends), time.monotonic()
        while unread:
            messages = consumer.consume(10_000, timeout=0.05)
            progress = time.monotonic() if messages else progress
            if time.monotonic() - progress > READ_TIMEOUT:
                raise RuntimeError(f"{topic}: nothing for {READ_TIMEOUT:.0f} s from {unread}")
            for message in messages:
                error = message.error()
                if error is None:
                    kept.append(keep(message))
                elif error.code() == KafkaError._PARTITION_EOF:
                    unread.discard(message.partition())
                else:
                    raise RuntimeError(f"{topic}: {error}")
        return kept, ends
    finally:
        consumer.close()


def rows(cluster, topic):
    """(the visible records of a topic in the order of their offsets, {partition: end})."""
    found, ends = scan(cluster, topic, keep=lambda m: Row(
        m.topic(), m.partition(), m.offset(), m.key(), m.value(), dict(m.headers() or [])))
    return sorted(found, key=lambda row: row.place), ends


def count_aborted(cluster, topic, visible, stable):
    """Records of aborted transactions, given what rows() found.

    Both isolations see the same offsets below the last stable one, but for what was aborted.
    """
    everything, _ = scan(cluster, topic, "read_uncommitted",
                         keep=lambda message: (message.topic(), message.partition(),
                                               message.offset()))
    hidden = set(everything) - {row.place for row in visible}
    return sum(offset < stable[partition] for _, partition, offset in hidden)


def open_partitions(cluster, topic, stable):
    """Partitions in which a transaction is open: something lies behind the last stable offset."""
    ends = end_offsets(cluster, topic, "read_uncommitted")
    return [(topic, number) for number, end in sorted(ends.items()) if end > stable[number]]


def markers(cluster, topic, node=1):
    """{"COMMIT": n, "ABORT": n}: how transactions ended in a topic, by the broker's own tool.

    A transaction counts once for each partition that it wrote to. A second opinion on
    count_aborted(): it reads the data files.
    """
    partitions = cluster.admin().list_topics(topic, timeout=READ_TIMEOUT).topics[topic].partitions
    files = [str(path) for number in partitions for path in cluster.segments(topic, number, node)]
    text = cluster.cli("dump-log", "--deep-iteration", "--files", ",".join(files)).stdout
    return collections.Counter(re.findall(r"endTxnMarker: (COMMIT|ABORT)", text))


def committed_offsets(cluster, topic, group):
    """{partition: the group's position, or 0 when it never came}, past every open transaction."""
    consumer = _consumer(cluster, "read_committed", group)
    try:
        partitions = consumer.list_topics(topic, timeout=READ_TIMEOUT).topics[topic].partitions
        found = consumer.committed([TopicPartition(topic, number) for number in partitions],
                                   timeout=READ_TIMEOUT)
        return {one.partition: max(one.offset, 0) for one in found}
    finally:
        consumer.close()


def source_of(row, is_result):
    """The place of the request that an outcome says it answers, or None."""
    try:
        if is_result:
            topic, partition, offset = row.headers["source"].decode().rsplit(":", 2)
        else:
            topic, partition, offset = (row.headers[f"original_{part}"].decode()
                                        for part in ("topic", "partition", "offset"))
        return topic, int(partition), int(offset)
    except (KeyError, ValueError, AttributeError):
        return None


def _body(value):
    try:
        body = json.loads(value)
        return body if isinstance(body, dict) else None
    except (ValueError, TypeError):
        return None


def _result_faults(request, result, answer):
    """What a result says that its request or the contract does not."""
    asked, said = _body(request.value), _body(result.value)
    if asked is None or said is None:
        yield "a result of, or with, a value that is not a JSON object"
        return
    asked = {"model_id": request.headers.get("model_id", b"").decode() or None, **asked}
    for name in ("request_id", "tenant_id", "model_id"):
        if said.get(name) != asked.get(name):
            yield f"{name} is {said.get(name)!r}, the request's is {asked.get(name)!r}"
    if (result.key or b"").decode(errors="replace") != said.get("request_id"):
        yield f"the key is {result.key!r}, not the request_id"
    if said.get("status") != "ok":
        yield f"status is {said.get('status')!r}"
    expected = None if answer is None else answer(asked, said)
    if expected is not None and said.get("output") != expected:
        yield f"output is {said.get('output')}, expected {expected}"


def _letter_faults(request, letter):
    """What a dead letter does not keep of its request."""
    if letter.value != request.value:
        yield "a dead letter's value is not the request's bytes"
    original_key = letter.headers.get("original_key")
    if request.key is not None and original_key != request.key:
        yield f"original_key is {original_key!r}, the request's key is {request.key!r}"
    reason = (letter.headers.get("reason") or b"").decode(errors="replace")
    if reason not in REASONS:
        yield f"reason is {reason!r}"


class _Check:
    """Outcomes against requests, after everything was read."""

    def __init__(self, requests, report, answer):
        self.requests = {row.place: row for row in requests}
        self.outcomes = collections.Counter()
        self.report = report
        self.answer = answer
        self._last = {}

    def outcome(self, row, is_result):
        source = source_of(row, is_result)
        if source is None:
            self.report.unreadable.append(row.place)
            return
        request = self.requests.get(source)
        if request is None:
            self.report.orphaned.append(row.place)
            return
        self.outcomes[source] += 1
        faults = (_result_faults(request, row, self.answer) if is_result
                  else _letter_faults(request, row))
        self.report.wrong += [f"{row.place} of {source}: {fault}" for fault in faults]
        if is_result:
            self.report.versions[(row.headers.get("model_version") or b"?").decode()] += 1
        else:
            self.report.reasons[(row.headers.get("reason") or b"?").decode()] += 1
        self._in_order(row, request)

    def _in_order(self, row, request):
        """Within one partition of one topic, outcomes of one key lie as their requests do.

        An outcome that comes again is a duplicate, not a breach of the order.
        """
        stream = (row.topic, row.partition, request.topic, request.partition, request.key)
        last = self._last.get(stream)
        if last is not None:
            self.report.ordered_pairs += 1
            if request.offset < last:
                self.report.order.append(row.place)
        self._last[stream] = max(request.offset, -1 if last is None else last)

    def finish(self, committed):
        for place in self.requests:
            below = committed is None or place[2] < committed[place[1]]
            count = self.outcomes[place]
            if count == 0 and below:
                self.report.missing.append(place)
            elif count == 0:
                self.report.pending += 1
            elif not below:
                self.report.early.append(place)
            if count > 1:
                self.report.duplicated.append(place)


def judge(cluster, topics, *, group=None, answer=None):
    """Report on `topics` (an object with requests, results and dlq).

    With a group, only requests below its committed offsets must have an outcome, and none at or
    above them may; without one, all must. answer(request's body, result's body) gives the
    expected output.
    """
    report = Report()
    committed = committed_offsets(cluster, topics.requests, group) if group else None
    requests, requests_end = rows(cluster, topics.requests)
    results, results_end = rows(cluster, topics.results)
    letters, letters_end = rows(cluster, topics.dlq)
    report.requests, report.results = len(requests), len(results)
    report.dead_letters = len(letters)
    check = _Check(requests, report, answer)
    for row in results:
        check.outcome(row, True)
    for row in letters:
        check.outcome(row, False)
    check.finish(committed)
    report.aborted_results = count_aborted(cluster, topics.results, results, results_end)
    report.aborted_dead_letters = count_aborted(cluster, topics.dlq, letters, letters_end)
    for topic, end in ((topics.requests, requests_end), (topics.results, results_end),
                       (topics.dlq, letters_end)):
        report.open_partitions += open_partitions(cluster, topic, end)
    return report
