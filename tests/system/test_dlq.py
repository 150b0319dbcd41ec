"""Dead letters on the local log: chosen, counted, replayed and parked, each exactly once.

What lies in a topic is read here from the log's own file, not by the commands under test.
"""

import collections
import datetime
import json
import pathlib
import random
import shutil
import signal
import sqlite3
import struct
import subprocess
import time

import pytest
from helpers import lines, pending, request, verify
from waiting import wait_until

MODELS = pathlib.Path(__file__).resolve().parent.parent / "models"
REQUESTS, RESULTS, DLQ = "inference.requests", "inference.results", "inference.dlq"
PARKED = DLQ + ".parked"
KILL_LETTERS = 20_000
CRASHED = 86

Row = collections.namedtuple("Row", "partition offset key headers value")


@pytest.fixture
def log(local_dir):
    return local_dir / "log"


@pytest.fixture
def models(local_dir):
    shutil.copytree(MODELS / "linear", local_dir / "models" / "linear")
    return local_dir / "models"


def header_list(block):
    """[(name, value)] of a header block as the log stores it."""
    found, at = [], 0
    while at < len(block):
        name_size, value_size = struct.unpack_from("<HI", block, at)
        at += 6
        name = block[at:at + name_size].decode()
        at += name_size
        size = 0 if value_size == 0xFFFFFFFF else value_size
        found.append((name, None if value_size == 0xFFFFFFFF else block[at:at + size]))
        at += size
    return found


def rows(log, topic):
    """Every record of a topic, read straight from the log's file."""
    database = sqlite3.connect(f"file:{log / 'log.db'}?mode=ro", uri=True)
    found = []
    parts = database.execute(
        "SELECT p.number, p.id FROM partitions p JOIN topics t ON p.topic = t.id WHERE t.name = ?"
        " ORDER BY p.number", [topic]).fetchall()
    for number, table in parts:
        for offset, key, block, value in database.execute(
                f"SELECT offset, key, headers, value FROM records_{table} ORDER BY offset"):
            found.append(Row(number, offset, key, header_list(block or b""), value))
    database.close()
    return found


def counts(log):
    database = sqlite3.connect(f"file:{log / 'log.db'}?mode=ro", uri=True)
    found = dict.fromkeys((REQUESTS, RESULTS, DLQ, PARKED), 0)
    for topic, table in database.execute(
            "SELECT t.name, p.id FROM partitions p JOIN topics t ON p.topic = t.id").fetchall():
        if topic in found:
            found[topic] += database.execute(f"SELECT count(*) FROM records_{table}").fetchone()[0]
    database.close()
    return found


def serve(worker, run_millrace, log, models, *args):
    """Runs a worker until nothing is pending."""
    with worker("--data", log, "--models", models, "-s", "models.linear.version=1",
                *args) as running:
        wait_until(lambda: pending(run_millrace, log) == 0)
        assert running.stop() == 0


@pytest.fixture
def fail(worker, run_millrace, log, models):
    """fail(bodies): sends requests as they are and has a worker answer them."""

    def do(bodies, scale="0.1"):
        run_millrace(["topics", "create", "--data", log, "--partitions-scale", scale])
        run_millrace(["send", "--data", log], input=lines(bodies))
        serve(worker, run_millrace, log, models)

    return do


@pytest.fixture
def dlq(run_millrace, log):
    """dlq("replay", "--execute") -> its JSON; the exit status must be `code`."""

    def run(command, *args, code=0):
        done = run_millrace(["dlq", command, "--data", log, "-o", "json", *args], check=False)
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        out = [json.loads(line) for line in done.stdout.splitlines()]
        return out if command in ("list", "show") else out[0] if out else done.stderr

    return run


def bad(i, **more):
    """Requests that fail, each third in another way."""
    kinds = [{"model": "nobody"}, {"input": [1]}, {"input": [1, 2, 3, "x"]}]
    return request(i, tenant=f"t{i % 5}", **{**kinds[i % 3], **more})


@pytest.fixture
def letters(fail, log):
    fail([request(100 + i) for i in range(20)] + [bad(i) for i in range(30)])
    assert counts(log)[DLQ] == 30
    return rows(log, DLQ)


def of(row, name):
    return dict(row.headers).get(name, b"").decode()


# -- Choosing -------------------------------------------------------------------------------------


def test_every_filter_chooses(dlq, letters):
    assert {letter["reason"] for letter in dlq("list", "--reason", "invalid_shape")} == {
        "invalid_shape"}
    both = dlq("list", "--reason", "invalid_shape", "--reason", "unknown_model")
    assert len(both) == 20
    assert len(dlq("list", "--model", "nobody")) == 10
    assert len(dlq("list", "--tenant", "t1", "--model", "nobody")) == 2
    assert [letter["value"] for letter in dlq("list", "--request-id", "r-7")] == [
        row.value.decode() for row in letters if b'"r-7"' in row.value]
    for name, flag in (("original_partition", "--original-partition"),
                       ("original_offset", "--original-offset")):
        wanted = of(letters[3], name)
        assert len(dlq("list", flag, wanted)) == sum(of(row, name) == wanted for row in letters)
    assert len(dlq("list", "--original-topic", REQUESTS)) == 30
    assert dlq("list", "--original-topic", "elsewhere") == []
    assert len(dlq("list", "--partition", "0", "--offset", "3-7")) == 5
    assert len(dlq("list", "--offset", "25-")) == 5
    assert len(dlq("list", "--min-attempts", "1")) == 30
    assert dlq("list", "--min-attempts", "2") == []


def test_times_choose_by_when_it_failed(dlq, letters):
    times = sorted(of(row, "failed_at") for row in letters)
    assert len(dlq("list", "--since", "1h")) == 30
    assert len(dlq("list", "--since", times[0])) == 30
    assert len(dlq("list", "--until", times[0])) == 0
    assert len(dlq("list", "--since", times[-1])) == times.count(times[-1])
    assert len(dlq("list", "--until", "1h")) == 0
    tomorrow = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=2)).date()
    assert len(dlq("list", "--until", str(tomorrow))) == 30
    assert len(dlq("list", "--since", str(tomorrow))) == 0


@pytest.mark.parametrize("flags, message", [
    (["--since", "yesterday"], "--since: 'yesterday' is no time"),
    (["--since", "5"], "--since: '5' is no time"),
    (["--until", "2h", "--since", "1h"], "--until 2h is not after --since 1h"),
    (["--offset", "7-3"], "--offset: '7-3' is neither a number nor a range"),
    (["--partition", "-1"], "--partition"),
    (["--reason", "bad_luck"], "--reason"),
    (["--partition", "99"], "has partitions 0..0 only"),
])
@pytest.mark.parametrize("command", ["list", "stats", "show", "replay", "park"])
def test_bad_filters_are_usage_errors(run_millrace, log, command, flags, message):
    run_millrace(["topics", "create", "--data", log, "--partitions-scale", "0.1"])
    done = run_millrace(["dlq", command, "--data", log, *flags], check=False)
    assert done.returncode == 2 and message in done.stderr, done.stderr


@pytest.mark.parametrize("flags, message", [
    (["--rate", "fast"], "--rate: 'fast' is no rate"),
    (["--rate", "0"], "--rate"),
    (["--max-attempts", "0"], "--max-attempts"),
    (["--to", DLQ], f"--to {DLQ}"),
    (["--to", RESULTS], f"--to {RESULTS}"),
])
def test_bad_flags_of_a_replay_are_usage_errors(run_millrace, log, letters, flags, message):
    done = run_millrace(["dlq", "replay", "--data", log, "--execute", *flags], check=False)
    assert done.returncode == 2 and message in done.stderr, done.stderr
    assert counts(log)[REQUESTS] == 50


def test_exit_codes_of_what_is_wrong_elsewhere(run_millrace, local_dir, log):
    for command in ("replay", "park", "stats"):
        wrong = run_millrace(["dlq", command, "-b", "127.0.0.1:1"], check=False)
        assert wrong.returncode == 4 and "127.0.0.1:1" in wrong.stderr
        wrong = run_millrace(["dlq", command, "-s", "no.such=1"], check=False)
        assert wrong.returncode == 3 and "no.such" in wrong.stderr
        wrong = run_millrace(["dlq", command, "--data", local_dir / "typo"], check=False)
        assert wrong.returncode == 1 and "typo" in wrong.stderr
        assert not (local_dir / "typo").exists()


def test_stats_counts_by_reason_model_and_tenant(run_millrace, dlq, log, letters):
    found = dlq("stats")
    assert found["count"] == 30
    for name, header in (("by_reason", "reason"), ("by_model", "model_id"),
                         ("by_tenant", "tenant_id")):
        assert found[name] == dict(collections.Counter(of(row, header) for row in letters))
    assert dlq("stats", "--model", "nobody")["by_reason"] == {"unknown_model": 10}
    table = run_millrace(["dlq", "stats", "--data", log]).stdout
    assert "unknown_model" in table and "TENANT" in table and "\u2588" not in table
    assert dlq("stats", "--tenant", "nobody")["count"] == 0


def test_show_has_views_of_a_value(run_millrace, log, letters):
    def show(*args):
        return run_millrace(["dlq", "show", "--data", log, *args]).stdout

    one = show("--request-id", "r-7")
    assert one.count("dead letter inference.dlq:") == 1 and '"request_id": "r-7"' in one
    decoded = show("--request-id", "r-7", "--view", "decoded")
    assert '\n  "request_id": "r-7",\n' in decoded and "tenant_id   t2" in decoded
    assert "7b 22 65" in show("--request-id", "r-7", "--view", "hex")
    assert show("--model", "nobody", "--limit", "3").count("dead letter inference.dlq:") == 3


# -- Replay ---------------------------------------------------------------------------------------


def test_a_dry_run_changes_nothing(run_millrace, dlq, log, letters):
    database = log / "log.db"
    groups = "SELECT (SELECT count(*) FROM groups), (SELECT count(*) FROM committed)"
    before = counts(log), sqlite3.connect(database).execute(groups).fetchall()
    for command in ("replay", "park"):
        plan = dlq(command)
        assert plan["dry_run"] and plan["selected"] == plan["matching"] == 30
        assert plan["by_reason"] == {"unknown_model": 10, "invalid_shape": 10, "invalid_value": 10}
        (target,) = plan["targets"]
        assert target["to"] == (REQUESTS if command == "replay" else PARKED)
        said = run_millrace(["dlq", command, "--data", log]).stdout
        assert "30 of 30 dead letters" in said and "a dry run, nothing was changed" in said
    assert (counts(log), sqlite3.connect(database).execute(groups).fetchall()) == before


def replayed(log, replay_id=None):
    return [row for row in rows(log, REQUESTS)
            if "replay_id" in dict(row.headers) and replay_id in (None, of(row, "replay_id"))]


def originals(log, letters):
    """{(partition, offset): row} of the requests that the dead letters come from."""
    places = {(int(of(row, "original_partition")), int(of(row, "original_offset")))
              for row in letters}
    return {(row.partition, row.offset): row for row in rows(log, REQUESTS)
            if (row.partition, row.offset) in places}


def test_a_replay_brings_back_the_requests_as_they_were(run_millrace, dlq, log, local_dir, fail):
    fail([request(100 + i) for i in range(5)] + [bad(i) for i in range(9)])
    letters = rows(log, DLQ)
    before = originals(log, letters)
    done = dlq("replay", "--execute")
    assert done["replayed"] == 9 and not done["interrupted"]
    copies = replayed(log)
    bare = [row._replace(headers=[h for h in row.headers if h[0] not in ("replay_id", "attempts")])
            for row in copies]
    assert sorted(row[2:] for row in bare) == sorted(row[2:] for row in before.values())
    assert {of(row, "attempts") for row in copies} == {"1"}
    assert {of(row, "replay_id") for row in copies} == {done["targets"][0]["replay_id"]}
    # Where the key puts it, as `send` does.
    home = {row.key: row.partition for row in before.values()}
    assert all(row.partition == home[row.key] for row in copies)


def test_replaying_twice_adds_nothing_unless_again(dlq, log, letters):
    flags = ["--reason", "unknown_model", "--execute"]
    assert dlq("replay", *flags)["replayed"] == 10
    for _ in range(2):
        again = dlq("replay", *flags)
        assert (again["replayed"], again["selected"], again["done_before"]) == (0, 0, 10)
    # Flags in another order mean the same.
    assert dlq("replay", "--execute", "--reason", "unknown_model", "--reason", "unknown_model",
               "--original-topic", REQUESTS)["replayed"] == 0
    assert counts(log)[REQUESTS] == 60
    second = dlq("replay", *flags, "--again")
    assert second["replayed"] == 10 and counts(log)[REQUESTS] == 70
    assert second["targets"][0]["replay_id"].endswith(".2")
    assert dlq("replay", *flags)["replayed"] == 0
    assert dlq("replay", *flags, "--again")["targets"][0]["replay_id"].endswith(".3")
    assert counts(log)[REQUESTS] == 80


def test_attempts_count_and_the_loop_guard_stops(worker, run_millrace, dlq, log, models, fail):
    fail([bad(i) for i in range(6)])
    for attempts in (1, 2):
        assert dlq("replay", "--execute")["replayed"] == 6
        serve(worker, run_millrace, log, models)
        newest = [row for row in rows(log, DLQ) if of(row, "attempts") == str(attempts + 1)]
        assert len(newest) == 6
        for row in newest:
            names = [name for name, _ in row.headers]
            assert len(names) == len(set(names)) and "replay_id" in names
    guarded = dlq("replay", "--execute")
    assert guarded["replayed"] == 0 and guarded["held_back"]["failed_too_often"] == 6
    assert guarded["done_before"] == 12
    rest = dlq("replay", "--min-attempts", "3", "--max-attempts", "4", "--execute")
    assert rest["replayed"] == 6
    serve(worker, run_millrace, log, models)
    assert collections.Counter(of(row, "attempts") for row in rows(log, DLQ)) == {
        "1": 6, "2": 6, "3": 6, "4": 6}
    code, report = verify(run_millrace, log)
    assert code == 0 and report["requests"] == report["dead_letters"] == 24, report


def test_verify_agrees_after_a_replay_that_helps(worker, run_millrace, dlq, log, models, letters):
    shutil.copytree(MODELS / "linear", models / "nobody")
    assert dlq("replay", "--reason", "unknown_model", "--execute")["replayed"] == 10
    serve(worker, run_millrace, log, models, "-s", "models.nobody.version=1")
    code, report = verify(run_millrace, log)
    assert code == 0 and report["ok"], report
    assert (report["requests"], report["results"], report["dead_letters"]) == (60, 30, 30)


def test_a_replay_elsewhere_and_topics_that_do_not_exist(run_millrace, dlq, log, letters):
    missing = dlq("replay", "--to", "nowhere", "--execute", code=1)
    assert "nowhere" in missing and "--to" in missing
    run_millrace(["topics", "create", "--data", log, "-s", "topics.requests=elsewhere",
                  "--partitions-scale", "0.1"])
    assert dlq("replay", "--to", "elsewhere", "--execute")["replayed"] == 30
    assert len(rows(log, "elsewhere")) == 30 and counts(log)[REQUESTS] == 50
    assert dlq("replay", "--to", "elsewhere", "--execute")["replayed"] == 0


def test_dead_letters_of_several_topics_go_back_each_to_its_own(worker, run_millrace, dlq, log,
                                                               models, fail):
    fail([bad(i) for i in range(6)])
    other = ["-s", "topics.requests=other", "-g", "other"]
    run_millrace(["topics", "create", "--data", log, *other[:2], "--partitions-scale", "0.1"])
    run_millrace(["send", "--data", log, *other], input=lines(bad(i) for i in range(4)))
    with worker("--data", log, "--models", models, *other):
        wait_until(lambda: len(rows(log, DLQ)) == 10)
    plan = dlq("replay")
    assert {t["to"]: t["records"] for t in plan["targets"]} == {REQUESTS: 6, "other": 4}
    assert dlq("replay", "--original-topic", "other", "--execute")["replayed"] == 4
    assert dlq("replay", "--execute")["replayed"] == 6
    assert dlq("replay", "--execute")["replayed"] == 0
    assert len(rows(log, "other")) == 8 and counts(log)[REQUESTS] == 12


def test_a_rate_is_kept(dlq, log, letters):
    started = time.monotonic()
    assert dlq("replay", "--rate", "15/s", "--execute")["replayed"] == 30
    assert 1.2 < time.monotonic() - started < 10


def test_a_relative_until_leaves_what_is_too_young_for_later(dlq, log, letters):
    assert dlq("replay", "--until", "1h", "--execute")["replayed"] == 0
    time.sleep(1.1)
    assert dlq("replay", "--until", "1s", "--execute")["replayed"] == 30
    assert dlq("replay", "--until", "1s", "--execute")["replayed"] == 0


def many_letters(run_millrace, log, count):
    """`count` dead letters as a worker would have written them, appended by this test."""
    run_millrace(["topics", "create", "--data", log, "--partitions-scale", "0.1"])
    run_millrace(["topics", "create", "--data", log, "-s", f"topics.requests={DLQ}.raw",
                  "--partitions-scale", "0.01"])
    database = sqlite3.connect(log / "log.db", isolation_level=None)
    (table,) = database.execute(
        "SELECT p.id FROM partitions p JOIN topics t ON p.topic = t.id WHERE t.name = ?",
        [DLQ]).fetchone()

    now = int(time.time() * 1000)  # Retention takes older ones away.

    def block(pairs):
        return b"".join(struct.pack("<HI", len(n), len(v)) + n + v for n, v in pairs)

    database.execute("BEGIN IMMEDIATE")
    for i in range(count):
        body = json.dumps(request(i)).encode()
        headers = block([
            (b"model_id", b"linear"), (b"original_topic", REQUESTS.encode()),
            (b"original_partition", b"0"), (b"original_offset", b"%d" % i),
            (b"original_timestamp", b"1763709327123"),
            (b"original_key", f"tenant-{i % 7}|linear".encode()), (b"reason", b"inference_error"),
            (b"detail", b"boom"), (b"failed_at", b"2026-01-01T00:00:00.000Z"), (b"attempts", b"1"),
            (b"tenant_id", b"tenant-%d" % (i % 7))])
        database.execute(f"INSERT INTO records_{table}(offset, timestamp, key, headers, value)"
                         " VALUES(?, ?, ?, ?, ?)",
                         [i, now, f"tenant-{i % 7}".encode(), headers, body])
    database.execute("UPDATE partitions SET next = ? WHERE id = ?", [count, table])
    database.execute("COMMIT")
    database.close()


def union_is_exact(log, count):
    ids = [json.loads(row.value)["request_id"] for row in rows(log, REQUESTS)]
    assert len(ids) == len(set(ids)), "a dead letter was replayed twice"
    assert set(ids) == {f"r-{i}" for i in range(count)}
    # Of one key in the order in which they lay.
    last = {}
    for row in rows(log, REQUESTS):
        number = int(json.loads(row.value)["request_id"][2:])
        assert number > last.get(row.key, -1)
        last[row.key] = number


def test_kill_9_in_the_middle_and_again_replays_each_once(millrace, run_millrace, log, dlq,
                                                         pytestconfig):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    count = KILL_LETTERS if not pytestconfig.getoption("--small") else KILL_LETTERS // 10
    many_letters(run_millrace, log, count)
    in_the_middle = 0
    for _ in range(4):
        before = counts(log)[REQUESTS]
        process = subprocess.Popen(
            [millrace, "dlq", "replay", "--data", log, "--execute", "--rate", f"{count // 10}/s"],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        wait_until(lambda: counts(log)[REQUESTS] > before or process.poll() is not None, every=0.01)
        time.sleep(dice.uniform(0, 0.5))
        process.kill()
        assert process.wait() == -signal.SIGKILL, process.stderr.read()
        in_the_middle += 0 < counts(log)[REQUESTS] < count
    assert in_the_middle > 0, "every kill came too late"
    assert dlq("replay", "--execute", "--rate", "unlimited")["done_before"] > 0
    union_is_exact(log, count)
    assert dlq("replay", "--execute")["replayed"] == 0


@pytest.mark.parametrize("point", ["replay_start", "replay_middle", "replay_end", "before_commit",
                                   "after_commit", "mid_produce"])
def test_each_once_after_a_crash_at(point, run_millrace, millrace_test, log, dlq):
    many_letters(run_millrace, log, 6000)
    crashed = run_millrace(["dlq", "replay", "--data", log, "--execute", "--rate", "unlimited"],
                           binary=millrace_test, env={"MILLRACE_CRASH_POINT": point}, check=False)
    assert crashed.returncode == CRASHED
    dlq("replay", "--execute", "--rate", "unlimited")
    union_is_exact(log, 6000)


def test_sigint_ends_it_cleanly_and_the_same_command_goes_on(millrace, run_millrace, log, dlq):
    many_letters(run_millrace, log, 2000)
    process = subprocess.Popen(
        [millrace, "dlq", "replay", "--data", log, "--execute", "--rate", "100/s", "-o", "json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: counts(log)[REQUESTS] > 0, every=0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    done = json.loads(out)
    assert process.returncode == 1 and done["interrupted"], err
    assert 0 < done["replayed"] == counts(log)[REQUESTS] < 2000
    rest = dlq("replay", "--execute", "--rate", "unlimited")
    assert rest["replayed"] == 2000 - done["replayed"]
    union_is_exact(log, 2000)


def test_what_is_not_the_original_is_not_replayed(run_millrace, dlq, log):
    many_letters(run_millrace, log, 3)
    database = sqlite3.connect(log / "log.db")
    (table,) = database.execute("SELECT p.id FROM partitions p JOIN topics t ON p.topic = t.id"
                                " WHERE t.name = ?", [DLQ]).fetchone()
    for offset, name in enumerate([b"original_value_bytes", b"original_value_null"]):
        value = b"true" if name.endswith(b"null") else b"70000"
        extra = struct.pack("<HI", len(name), len(value)) + name + value
        database.execute(f"UPDATE records_{table} SET headers = headers || ? WHERE offset = ?",
                         [extra, offset])
    database.commit()
    database.close()
    done = dlq("replay", "--execute")
    assert done["replayed"] == 1
    assert (done["held_back"]["cut"], done["held_back"]["without_value"]) == (1, 1)


# -- Park -----------------------------------------------------------------------------------------


def test_parked_dead_letters_stay_as_they_are_and_are_not_replayed(run_millrace, dlq, log, letters):
    assert dlq("park", "--tenant", "t1", "--execute")["parked"] == 6
    parked = rows(log, PARKED)
    assert len(parked) == 6
    by_place = {(row.partition, row.offset): row for row in letters}
    for row in parked:
        topic, partition, offset = of(row, "parked_from").split(":")
        letter = by_place[int(partition), int(offset)]
        assert topic == DLQ and (row.key, row.value) == (letter.key, letter.value)
        assert row.headers[:-2] == letter.headers
        assert [name for name, _ in row.headers[-2:]] == ["parked_from", "parked_at"]
    again = dlq("park", "--execute", "--tenant", "t1")
    assert again["parked"] == 0 and again["held_back"]["parked"] == 6
    assert dlq("park", "--execute", "--model", "nobody")["parked"] == 8
    assert counts(log)[PARKED] == 14
    done = dlq("replay", "--execute")
    assert done["replayed"] == 16 and done["held_back"]["parked"] == 14
    # They can be looked at and brought back from there.
    there = ["-s", f"topics.dlq={PARKED}"]
    assert len(dlq("list", *there)) == 14
    assert dlq("replay", *there, "--execute")["replayed"] == 14
    assert all(not {"parked_from", "parked_at"} & set(dict(row.headers)) for row in replayed(log))
    assert counts(log)[REQUESTS] == 80


def test_park_refuses_topics_of_requests_and_outcomes(run_millrace, log, letters):
    for topic in (REQUESTS, RESULTS, DLQ):
        done = run_millrace(["dlq", "park", "--data", log, "--to", topic], check=False)
        assert done.returncode == 2 and topic in done.stderr
