"""Dead letters on a cluster: replayed exactly once, whatever happens to the replay.

What every command does with them on either log is in tests/system/test_dlq.py; here it is what only
a cluster has: transactions, groups, several partitions. The target topic is read by another client.
"""

import collections
import json
import os
import signal
import subprocess
import time

import pytest

from judge import committed_offsets, end_offsets, judge, open_partitions, rows
from publish import _Sink, encode, expected_output, key_of, publish, request
from waiting import wait_until
from workload import Progress, dice, verify

LETTERS = int(os.environ.get("MILLRACE_DLQ_LETTERS", "20000"))
POISONED = 60
CRASHED = 86


@pytest.fixture
def dlq(run_millrace):
    """dlq(cluster, topics, "replay", "--execute") -> its JSON; the exit status must be `code`."""

    def run(cluster, topics, command, *args, code=0, **keywords):
        place = ["-b", cluster.bootstrap, *topics.settings]
        done = run_millrace(["dlq", command, *place, "-o", "json", *args], check=False,
                            timeout=600, **keywords)
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        out = [json.loads(line) for line in done.stdout.splitlines()]
        return out if command in ("list", "show") else out[0] if out else done.stderr

    return run


def write_letters(cluster, topics, count):
    """`count` dead letters as workers write them, in all partitions of the topic."""
    sink = _Sink(cluster)
    failed_at = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime()).encode()
    for number in range(count):
        body = request(number)
        sink.send(topics.dlq, body["tenant_id"].encode(), encode(body), [
            ("x", b"%d" % number), ("model_id", b"linear"),
            ("original_topic", topics.requests.encode()), ("original_partition", b"0"),
            ("original_offset", b"%d" % number), ("original_timestamp", b"1763709327123"),
            ("original_key", key_of(body)), ("reason", b"inference_error"), ("detail", b"boom"),
            ("failed_at", failed_at), ("attempts", b"1"), ("tenant_id", body["tenant_id"].encode()),
            ("consumer_group", topics.group.encode())])
    sink.flush()


def union_is_exact(cluster, topics, count):
    """Each of the letters was replayed once, as the request it was, where its key belongs."""
    # A command ends when its commit is decided; the cluster ends it in each partition after that.
    wait_until(lambda: not open_partitions(cluster, topics.requests,
                                           end_offsets(cluster, topics.requests)), 20)
    found, _ = rows(cluster, topics.requests)
    numbers = collections.Counter(int(row.headers["x"]) for row in found)
    assert not [number for number, times in numbers.items() if times > 1][:5], "replayed twice"
    assert set(numbers) == set(range(count)), f"{count - len(numbers)} are missing"
    homes = collections.defaultdict(set)
    for row in found:
        body = request(int(row.headers["x"]))
        assert (row.key, row.value) == (key_of(body), encode(body))
        assert set(row.headers) == {"x", "model_id", "replay_id", "attempts"}
        homes[row.key].add(row.partition)
    assert all(len(partitions) == 1 for partitions in homes.values()), homes


def test_a_replay_is_judged_exactly_once_with_the_worker_between(
        kafka, topics, serve, run_millrace, dlq):
    publish(kafka, topics.requests, 6 * POISONED, poison_every=6)
    progress = Progress(kafka, topics)
    with serve(kafka, topics) as worker:
        progress.wait_idle()
        assert worker.stop() == 0
    ends = {topic: end_offsets(kafka, topic) for topic in (topics.requests, topics.dlq)}
    plan = dlq(kafka, topics, "replay")
    assert plan["dry_run"] and plan["selected"] == POISONED
    assert {topic: end_offsets(kafka, topic) for topic in ends} == ends
    group = plan["targets"][0]["group"]
    assert not any(committed_offsets(kafka, topics.dlq, group).values()), "a dry run left a group"

    assert dlq(kafka, topics, "stats")["by_reason"] == plan["by_reason"]
    wanted = plan["by_reason"]["unknown_model"]
    flags = ["--reason", "unknown_model", "--since", "1h", "--execute"]
    done = dlq(kafka, topics, "replay", *flags)
    assert done["replayed"] == wanted > 0
    assert dlq(kafka, topics, "replay", *flags)["replayed"] == 0
    again = dlq(kafka, topics, "replay", *flags, "--again")
    assert again["replayed"] == wanted
    with serve(kafka, topics) as worker:
        progress.wait_idle()
        assert worker.stop() == 0
    report = judge(kafka, topics, answer=expected_output)
    assert report.ok and report.requests == 6 * POISONED + 2 * wanted, report
    assert report.dead_letters == POISONED + 2 * wanted
    assert verify(run_millrace, kafka, topics)["dead_letters"] == report.dead_letters
    letters, _ = rows(kafka, topics.dlq)
    assert collections.Counter(row.headers["attempts"] for row in letters) == {
        b"1": POISONED, b"2": 2 * wanted}
    guarded = dlq(kafka, topics, "replay", "--max-attempts", "2", "--reason", "unknown_model")
    assert guarded["held_back"]["failed_too_often"] == 2 * wanted


def test_kill_9_in_the_middle_and_again_replays_each_once(kafka, topics, millrace, run_millrace,
                                                         dlq):
    random_kill = dice()
    write_letters(kafka, topics, LETTERS)
    command = [millrace, "dlq", "replay", "-b", kafka.bootstrap, *topics.settings, "--execute"]
    kills = 0
    for _ in range(4):
        before = sum(end_offsets(kafka, topics.requests).values())
        process = subprocess.Popen([*command, "--rate", f"{LETTERS // 10}/s"],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            wait_until(lambda: sum(end_offsets(kafka, topics.requests).values()) > before, 60)
            time.sleep(random_kill.uniform(0, 0.5))
        finally:
            process.kill()
        assert process.wait() == -signal.SIGKILL, process.stderr.read()
        kills += sum(end_offsets(kafka, topics.requests).values()) > before
    assert kills == 4
    started = time.monotonic()
    done = dlq(kafka, topics, "replay", "--execute", "--rate", "unlimited")
    print(f"{done['replayed']} of {LETTERS} after the kills in {done['seconds']:.2f} s, "
          f"the command in {time.monotonic() - started:.2f} s")
    assert 0 < done["done_before"] and done["replayed"] == LETTERS - done["done_before"] > 0
    union_is_exact(kafka, topics, LETTERS)
    assert dlq(kafka, topics, "replay", "--execute")["replayed"] == 0


@pytest.mark.parametrize("point", [
    "replay_start", "replay_middle", "replay_end", "first_produced", "all_produced",
    "before_end_txn", "end_txn_sent", "after_commit"])
def test_each_once_after_a_crash_at(point, kafka, topics, millrace_test, dlq):
    write_letters(kafka, topics, 2000)
    flags = ["--execute", "--rate", "unlimited"]
    dlq(kafka, topics, "replay", *flags, code=CRASHED, binary=millrace_test,
        env={"MILLRACE_CRASH_POINT": point})
    dlq(kafka, topics, "replay", *flags)
    union_is_exact(kafka, topics, 2000)


def test_of_two_runs_at_once_the_later_goes_on(kafka, topics, millrace, dlq):
    write_letters(kafka, topics, 2000)
    first = subprocess.Popen([millrace, "dlq", "replay", "-b", kafka.bootstrap, *topics.settings,
                              "--execute", "--rate", "200/s"],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: sum(end_offsets(kafka, topics.requests).values()) > 0)
    dlq(kafka, topics, "replay", "--execute", "--rate", "unlimited")
    _, err = first.communicate(timeout=60)
    assert first.returncode == 1 and "another run of this replay has taken over" in err, err
    union_is_exact(kafka, topics, 2000)


def test_each_once_with_the_brokers_own_group_protocol(kafka, topics, millrace, dlq):
    write_letters(kafka, topics, 2000)
    protocol = ["-X", "group.protocol=consumer"]
    process = subprocess.Popen([millrace, "dlq", "replay", "-b", kafka.bootstrap, *topics.settings,
                                *protocol, "--execute", "--rate", "500/s"])
    wait_until(lambda: sum(end_offsets(kafka, topics.requests).values()) > 0)
    process.kill()
    process.wait()
    assert dlq(kafka, topics, "replay", "--execute", *protocol)["done_before"] > 0
    union_is_exact(kafka, topics, 2000)


def test_a_replay_outlives_a_broker_that_restarts(own_kafka, make_topics, millrace, dlq):
    topics = make_topics(own_kafka)
    write_letters(own_kafka, topics, 3000)
    process = subprocess.Popen([millrace, "dlq", "replay", "-b", own_kafka.bootstrap,
                                *topics.settings, "--execute", "--rate", "500/s", "-o", "json"],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: sum(end_offsets(own_kafka, topics.requests).values()) > 0)
    own_kafka.kill()
    own_kafka.restart()
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert json.loads(out)["replayed"] == 3000
    union_is_exact(own_kafka, topics, 3000)


def test_park_makes_its_topic_only_when_told_to(kafka, topics, dlq):
    write_letters(kafka, topics, 50)
    said = dlq(kafka, topics, "park", "--tenant", "tenant-1", "--execute", code=1)
    assert f"{topics.dlq}.parked does not exist" in said and "--create" in said
    parked = dlq(kafka, topics, "park", "--tenant", "tenant-1", "--create", "--execute")["parked"]
    assert parked > 0
    assert dlq(kafka, topics, "park", "--tenant", "tenant-1", "--execute")["parked"] == 0
    letters = {row.place: row for row in rows(kafka, topics.dlq)[0]}
    found, _ = rows(kafka, topics.dlq + ".parked")
    assert len(found) == parked
    for row in found:
        topic, partition, offset = row.headers["parked_from"].decode().rsplit(":", 2)
        letter = letters[topic, int(partition), int(offset)]
        assert (row.key, row.value) == (letter.key, letter.value)
        assert letter.headers.items() <= row.headers.items()
    done = dlq(kafka, topics, "replay", "--execute")
    assert (done["replayed"], done["held_back"]["parked"]) == (50 - parked, parked)


def test_a_target_that_is_missing_is_named(kafka, topics, dlq):
    write_letters(kafka, topics, 5)
    assert "no-such-topic" in dlq(kafka, topics, "replay", "--to", "no-such-topic", "--execute",
                                  code=1)
