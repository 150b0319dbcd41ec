"""`verify` catches every fault planted in a log that was right: the checker is checked.

The faults are those of the exactly-once rules. They are planted with SQL in a copy of a log that a
worker wrote; a log without a fault must pass.
"""

import pathlib
import shutil
import sqlite3
import struct
import subprocess

import pytest
from helpers import lines, pending, request, verify
from waiting import wait_until

MODELS = pathlib.Path(__file__).resolve().parent.parent / "models"
COUNT = 400
BAD = 20
DATABASE = "log.db"
RESULTS, DLQ, REQUESTS = "inference.results", "inference.dlq", "inference.requests"


class LocalLog:
    """The tables of an embedded log, by topic and partition number."""

    def __init__(self, folder):
        self.db = sqlite3.connect(pathlib.Path(folder) / DATABASE)
        self.db.isolation_level = None
        rows = self.db.execute(
            "SELECT t.name, p.number, p.id FROM partitions p JOIN topics t ON t.id = p.topic")
        self.ids = {(topic, number): partition_id for topic, number, partition_id in rows}

    def table(self, topic, partition):
        return f"records_{self.ids[topic, partition]}"

    def partitions(self, topic):
        return sorted(number for name, number in self.ids if name == topic)

    def rows(self, topic):
        """[(partition, offset, timestamp, key, headers, value)] of a topic."""
        return [(partition, *row) for partition in self.partitions(topic)
                for row in self.db.execute(
                    f"SELECT * FROM {self.table(topic, partition)} ORDER BY offset")]

    def append(self, topic, partition, timestamp, key, headers, value):
        where = self.ids[topic, partition]
        (offset,) = self.db.execute("SELECT next FROM partitions WHERE id = ?", (where,)).fetchone()
        self.db.execute(f"INSERT INTO {self.table(topic, partition)} VALUES (?, ?, ?, ?, ?)",
                        (offset, timestamp, key, headers, value))
        self.db.execute("UPDATE partitions SET next = ? WHERE id = ?", (offset + 1, where))
        return offset

    def delete(self, topic, partition, offset):
        self.db.execute(f"DELETE FROM {self.table(topic, partition)} WHERE offset = ?", (offset,))

    def set(self, topic, partition, offset, column, value):
        self.db.execute(f"UPDATE {self.table(topic, partition)} SET {column} = ? WHERE offset = ?",
                        (value, offset))

    def move_committed(self, partition, by):
        self.db.execute("UPDATE committed SET position = position + ? WHERE partition_id = ?",
                        (by, self.ids[REQUESTS, partition]))

    def close(self):
        self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.db.close()


def headers_of(block):
    found, at = {}, 0
    while at < len(block):
        name_size, value_size = struct.unpack_from("<HI", block, at)
        at += 6
        name = block[at:at + name_size].decode()
        found[name] = block[at + name_size:at + name_size + value_size]
        at += name_size + value_size
    return found


@pytest.fixture(scope="module")
def right_log(tmp_path_factory, millrace):
    """A log that a worker wrote: results and dead letters, every request answered."""
    folder = tmp_path_factory.mktemp("right")
    log, models = folder / "log", folder / "models"
    models.mkdir()
    subprocess.run(["cp", "-r", MODELS / "linear", models], check=True)

    def run(args, **kw):
        return subprocess.run([str(millrace), *map(str, args)], check=True, text=True,
                              stdout=subprocess.PIPE, **kw)

    run(["topics", "create", "--data", log, "--partitions-scale", "0.05"])
    bodies = [request(i, input=[1] if i % (COUNT // BAD) == 0 else [i, 0, 0, 0])
              for i in range(COUNT)]
    run(["send", "--data", log], input=lines(bodies))
    worker = subprocess.Popen([str(millrace), "serve", "--data", str(log), "--models", str(models),
                               "-s", "http.admin_listen="], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: pending(lambda a, **kw: run(a), log) == 0)
    finally:
        worker.terminate()
        assert worker.wait(30) == 0
    return log


@pytest.fixture
def faulty(right_log, local_dir):
    copy = local_dir / "copy"
    shutil.copytree(right_log, copy)
    log = LocalLog(copy)
    yield log, copy
    log.close()


def drop_one(log):
    partition, offset, *_ = log.rows(RESULTS)[10]
    log.delete(RESULTS, partition, offset)


def duplicate_one(log):
    partition, _, *rest = log.rows(RESULTS)[10]
    log.append(RESULTS, partition, *rest)


def swap_two_of_a_key(log):
    """Two results of one request key and partition change places."""
    requests = {(p, o): key for p, o, _, key, _, _ in log.rows(REQUESTS)}
    seen = {}
    for row in log.rows(RESULTS):
        partition, offset, *_, headers, _ = row
        _, source_partition, source_offset = headers_of(headers)["source"].decode().rsplit(":", 2)
        source = (int(source_partition), int(source_offset))
        place = (partition, requests[source], source[0])
        if place in seen:
            first, second = seen[place][1], row[1]
            for old, new in ((first, -1), (second, first), (-1, second)):
                log.set(RESULTS, partition, old, "offset", new)
            return
        seen[place] = row
    raise AssertionError("no two results of one key in one partition")


def wrong_key(log):
    partition, offset, *_ = log.rows(RESULTS)[10]
    log.set(RESULTS, partition, offset, "key", b"somebody-else")


def move_committed_back(log):
    """One offset less than was committed: its outcome is there without its offset."""
    log.move_committed(log.rows(REQUESTS)[0][0], -1)


def offset_without_output(log):
    """A request arrives and is committed; no outcome was written."""
    partition, _, timestamp, key, headers, value = log.rows(REQUESTS)[0]
    log.append(REQUESTS, partition, timestamp, key, headers,
               value.replace(b"r-", b"never-answered-", 1))
    log.move_committed(partition, 1)


def output_without_offset(log):
    """A request arrives and its outcome is there; the offset was not committed."""
    partition, _, timestamp, key, headers, value = log.rows(REQUESTS)[0]
    last = log.append(REQUESTS, partition, timestamp, key, headers, value)
    out_partition, _, timestamp, key, headers, value = log.rows(RESULTS)[0]
    old = headers_of(headers)["source"]
    new = f"{REQUESTS}:{partition}:{last}".encode()
    block = headers.replace(struct.pack("<HI", 6, len(old)) + b"source" + old,
                            struct.pack("<HI", 6, len(new)) + b"source" + new)
    assert block != headers
    log.append(RESULTS, out_partition, timestamp, key, block, value)


def result_and_dead_letter_both(log):
    """A dead letter for a request that has a result already."""
    partition, _, timestamp, key, headers, value = log.rows(DLQ)[0]
    _, source_partition, source_offset = headers_of(
        log.rows(RESULTS)[0][4])["source"].decode().rsplit(":", 2)
    block = headers
    for name, text in (("original_partition", source_partition),
                       ("original_offset", source_offset)):
        old = headers_of(block)[name]
        prefix = struct.pack("<H", len(name))
        block = block.replace(prefix + struct.pack("<I", len(old)) + name.encode() + old,
                              prefix + struct.pack("<I", len(text)) + name.encode() +
                              text.encode())
    log.append(DLQ, partition, timestamp, key, block, value)


def aborted_row_visible(log):
    """A unit that was tried twice left a row of its first try behind."""
    for partition, _, *rest in log.rows(RESULTS)[20:23]:
        log.append(RESULTS, partition, *rest)


def last_record_missing(log):
    partition, offset, *_ = log.rows(RESULTS)[-1]
    log.delete(RESULTS, partition, offset)


def altered_dead_letter(log):
    partition, offset, *_ = log.rows(DLQ)[0]
    log.set(DLQ, partition, offset, "value", b"other bytes")


def empty_input(log):
    for topic in (REQUESTS, RESULTS, DLQ):
        for partition in log.partitions(topic):
            log.db.execute(f"DELETE FROM {log.table(topic, partition)}")
    log.db.execute("DELETE FROM committed")


FAULTS = [
    (drop_one, "missing"),
    (duplicate_one, "duplicated"),
    (swap_two_of_a_key, "order_violations"),
    (wrong_key, "mismatched"),
    (output_without_offset, "orphaned"),
    (offset_without_output, "missing"),
    (result_and_dead_letter_both, "duplicated"),
    (aborted_row_visible, "duplicated"),
    (move_committed_back, "orphaned"),
    (last_record_missing, "missing"),
    (altered_dead_letter, "altered"),
]


def test_a_right_log_passes(right_log, run_millrace):
    status, report = verify(run_millrace, right_log)
    assert status == 0 and report["ok"]
    assert report["requests"] == COUNT
    assert report["dead_letters"] == BAD
    assert report["examined"] == 2 * COUNT


@pytest.mark.parametrize("plant, counter", FAULTS, ids=[plant.__name__ for plant, _ in FAULTS])
def test_catches(plant, counter, faulty, run_millrace):
    log, folder = faulty
    plant(log)
    status, report = verify(run_millrace, folder)
    assert status == 5 and not report["ok"], report
    assert report[counter] >= 1, report


def test_an_empty_log_proves_nothing(faulty, run_millrace):
    log, folder = faulty
    empty_input(log)
    status, report = verify(run_millrace, folder)
    assert status == 5 and not report["ok"] and report["examined"] == 0
