"""The commands around a log, each as a user types it."""

import json
import pathlib
import re
import shutil
import signal
import sqlite3
import struct
import subprocess
import time

import pytest
from waiting import wait_until

MODELS = pathlib.Path(__file__).resolve().parent.parent / "models"
TOPICS = {"inference.requests": 64, "inference.results": 32, "inference.dlq": 8, "model.events": 4,
          "model.status": 4, "inference.shadow": 8}


@pytest.fixture
def log(local_dir):
    return local_dir / "log"


@pytest.fixture
def models(local_dir):
    """A repository with one model, y = x0 + 2 x1 + 3 x2 + 4 x3, of which version 2 adds 1000."""
    path = local_dir / "models"
    shutil.copytree(MODELS / "linear", path / "linear")
    return path


def lines(requests):
    return "".join(json.dumps(request) + "\n" for request in requests)


def request(i, **more):
    return {"request_id": f"r{i}", "tenant_id": f"t{i % 3}", "model_id": "linear",
            "input": [i, 0, 0, 0], **more}


def records(log, run_millrace):
    done = run_millrace(["topics", "describe", "--data", log, "-o", "json"])
    return {topic["topic"]: topic["records"] for topic in json.loads(done.stdout)}


def headers(block):
    """{name: value} of a header block as the log stores it."""
    found, at = {}, 0
    while at < len(block):
        name_size, value_size = struct.unpack_from("<HI", block, at)
        at += 6
        name = block[at:at + name_size].decode()
        at += name_size
        if value_size != 0xFFFFFFFF:
            found[name] = block[at:at + value_size].decode()
            at += value_size
    return found


def open_log(log):
    """The SQLite file of a log that no process has open."""
    files = [path for path in pathlib.Path(log).iterdir()
             if path.is_file() and path.open("rb").read(15) == b"SQLite format 3"]
    assert len(files) == 1, files
    return sqlite3.connect(files[0], isolation_level=None)


def tables(database, topic):
    """The tables of a topic's partitions, in order."""
    rows = database.execute(
        "SELECT p.id FROM partitions p JOIN topics t ON p.topic = t.id WHERE t.name = ?"
        " ORDER BY p.number", [topic]).fetchall()
    return [f"records_{row[0]}" for row in rows]


def stored(log, topic):
    """(key, headers, value) of every record of a topic."""
    database = open_log(log)
    rows = []
    for table in tables(database, topic):
        rows += database.execute(f"SELECT key, headers, value FROM {table} ORDER BY offset")
    database.close()
    return [(key, headers(block or b""), value) for key, block, value in rows]


def serve_until(worker, run_millrace, log, models, outcomes, timeout=60):
    """Runs a worker until the log has so many outcomes."""
    with worker("--data", log, "--models", models) as running:
        deadline = time.monotonic() + timeout
        while True:
            counts = records(log, run_millrace)
            if counts["inference.results"] + counts["inference.dlq"] >= outcomes:
                break
            assert time.monotonic() < deadline, counts
            time.sleep(0.1)
        assert running.stop() == 0


# -- topics ---------------------------------------------------------------------------------------


def test_topics_create_makes_the_contracts_topics_once(run_millrace, log):
    first = json.loads(run_millrace(["topics", "create", "--data", log, "-o", "json"]).stdout)
    assert {t["topic"]: t["partitions"] for t in first} == TOPICS
    assert {t["state"] for t in first} == {"created"}
    again = json.loads(run_millrace(["topics", "create", "--data", log, "-o", "json"]).stdout)
    assert {t["state"] for t in again} == {"exists"}


def test_topics_create_scales_and_tells_of_other_partition_counts(run_millrace, log):
    made = run_millrace(["topics", "create", "--data", log, "--partitions-scale", "0.125",
                         "-o", "json"])
    counts = {t["topic"]: t["partitions"] for t in json.loads(made.stdout)}
    assert counts == {"inference.requests": 8, "inference.results": 4, "inference.dlq": 1,
                      "model.events": 1, "model.status": 1, "inference.shadow": 1}
    again = run_millrace(["topics", "create", "--data", log])
    assert "inference.requests has 8 partitions, not the 64 asked for" in again.stderr


def test_topics_describe_shows_counts_and_lag(run_millrace, log):
    run_millrace(["send", "--data", log], input=lines(request(i) for i in range(50)))
    described = json.loads(
        run_millrace(["topics", "describe", "--data", log, "-o", "json"]).stdout)
    by_name = {t["topic"]: t for t in described}
    assert by_name["inference.requests"]["records"] == 50
    assert by_name["model.events"]["cleanup"] == "compact"
    assert by_name["inference.results"]["retention_ms"] == 7 * 24 * 3600 * 1000
    table = run_millrace(["topics", "describe", "--data", log]).stdout
    assert "inference.requests" in table and "50" in table
    one = run_millrace(["topics", "describe", "--data", log, "--partitions", "inference.dlq"])
    assert len(one.stdout.splitlines()) == 1 + TOPICS["inference.dlq"]
    missing = run_millrace(["topics", "describe", "--data", log, "nope"], check=False)
    assert missing.returncode == 1 and "nope" in missing.stderr


# -- send -----------------------------------------------------------------------------------------


def test_send_makes_the_topics_of_a_local_log_and_says_so(run_millrace, log):
    done = run_millrace(["send", "--data", log], input=lines([request(1)]))
    for topic, partitions in TOPICS.items():
        assert f"created topic {topic} with {partitions} partitions" in done.stderr
    assert "created" not in run_millrace(["send", "--data", log], input="").stderr


def test_send_fills_in_what_lines_lack_and_keeps_the_rest(run_millrace, log):
    full = ('{"request_id":"r1","tenant_id":"a","model_id":"m","input":[1.50],'
            '"enqueued_at":"2026-01-01T00:00:00Z"}')
    run_millrace(["send", "--data", log, "--model", "linear", "--tenant", "acme",
                  "--id-prefix", "p-", "--timeout-ms", "5000"],
                 input=full + "\n\n{\"input\":[1,2,3,4]}")
    rows = {row[0]: row for row in stored(log, "inference.requests")}
    assert rows.keys() == {b"a|m", b"acme|linear"}
    assert json.loads(rows[b"a|m"][2]) == {**json.loads(full), "timeout_ms": 5000}
    assert b"[1.50]" in rows[b"a|m"][2]
    assert rows[b"a|m"][1]["model_id"] == "m"
    made = json.loads(rows[b"acme|linear"][2])
    assert made["request_id"].startswith("p-") and made["timeout_ms"] == 5000
    assert made["tenant_id"] == "acme" and made["model_id"] == "linear"
    assert made["enqueued_at"].endswith("Z") and made["input"] == [1, 2, 3, 4]


def test_send_reports_bad_lines_sends_the_others_and_exits_1(run_millrace, log):
    text = lines([request(1)]) + "oops\n" + '{"input":[1]}\n' + lines([request(2)])
    done = run_millrace(["send", "--data", log, "-o", "json"], input=text, check=False)
    assert done.returncode == 1
    assert "stdin:2: not sent: it is not JSON" in done.stderr
    assert "stdin:3: not sent: it has no tenant_id" in done.stderr
    summary = json.loads(done.stdout)
    assert (summary["sent"], summary["refused"]) == (2, 2)
    assert len(stored(log, "inference.requests")) == 2


def test_send_takes_csv(run_millrace, log, local_dir):
    path = local_dir / "rows.csv"
    path.write_text("label,f0,f1,request_id\r\nbenign,1.5,-2,a\r\n\"malig,nant\",3,x,b\r\n"
                    "benign,+4,.5,\r\n")
    done = run_millrace(["send", "--data", log, "--model", "m", "--tenant", "t", path], check=False)
    assert done.returncode == 1
    assert f"{path}:3: not sent: column f1: 'x' is not a number" in done.stderr
    values = [json.loads(row[2]) for row in stored(log, "inference.requests")]
    assert [value["input"] for value in values] == [[1.5, -2], [4, 0.5]]
    assert values[0]["request_id"] == "a" and values[0]["metadata"] == {"label": "benign"}
    assert values[1]["request_id"] not in ("", "b")


def test_send_raw_publishes_lines_as_they_are(run_millrace, log):
    text = '{"tenant_id":"t","model_id":"m","input":"?"}\nnot json\n'
    run_millrace(["send", "--data", log, "--raw"], input=text)
    rows = sorted(stored(log, "inference.requests"), key=lambda row: row[2])
    assert [row[2] for row in rows] == [b"not json", text.splitlines()[0].encode()]
    assert rows[0][0] is None and rows[1][0] == b"t|m"


def test_send_limits_and_repeats(run_millrace, log, local_dir):
    path = local_dir / "r.ndjson"
    path.write_text(lines(request(i) for i in range(10)))
    assert "sent 30 requests" in run_millrace(["send", "--data", log, "--repeat", "3", path]).stdout
    assert "sent 4 requests" in run_millrace(["send", "--data", log, "--limit", "4", path]).stdout
    assert records(log, run_millrace)["inference.requests"] == 34
    refused = run_millrace(["send", "--data", log, "--repeat", "2"], input="", check=False)
    assert refused.returncode == 2


def test_send_keeps_to_its_rate_and_ends_cleanly_on_sigint(millrace, run_millrace, log, local_dir):
    run_millrace(["topics", "create", "--data", log])
    path = local_dir / "r.ndjson"
    path.write_text(lines(request(i) for i in range(10)))
    sender = subprocess.Popen(
        [millrace, "send", "--data", log, "--rate", "100", "--repeat", "100000", "-o", "json",
         path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip
    wait_until(lambda: records(log, run_millrace).get("inference.requests", 0) >= 30)
    sender.send_signal(signal.SIGINT)
    out, err = sender.communicate(timeout=10)
    assert sender.returncode == 0, err
    summary = json.loads(out)
    assert summary["interrupted"]
    assert 30 <= summary["sent"] <= 100 * summary["seconds"] + 2
    assert records(log, run_millrace)["inference.requests"] == summary["sent"]


def test_send_publishes_what_a_slow_pipe_gives_at_once(millrace, run_millrace, log):
    run_millrace(["topics", "create", "--data", log])
    sender = subprocess.Popen([millrace, "send", "--data", log], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    sender.stdin.write(lines([request(1)]))
    sender.stdin.flush()
    deadline = time.monotonic() + 10
    while records(log, run_millrace)["inference.requests"] == 0:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert sender.poll() is None
    out, _ = sender.communicate(timeout=10)
    assert sender.returncode == 0 and "sent 1 requests" in out


def test_send_says_which_file_it_cannot_open(run_millrace, log):
    done = run_millrace(["send", "--data", log, "/nonexistent/x.ndjson"], check=False)
    assert done.returncode == 1
    assert "/nonexistent/x.ndjson" in done.stderr and "No such file" in done.stderr


# -- models ---------------------------------------------------------------------------------------


def test_models_list_names_the_version_that_serves(run_millrace, models):
    listed = json.loads(run_millrace(["models", "list", "--models", models, "-o", "json"]).stdout)
    assert [(m["version"], m["serving"]) for m in listed["models"]] == [("1", False), ("2", True)]
    assert all(len(m["sha256"]) == 64 and m["bytes"] > 0 for m in listed["models"])
    pinned = json.loads(run_millrace(["models", "list", "--models", models, "-o", "json",
                                      "-s", "models.linear.version=1"]).stdout)
    assert [m["serving"] for m in pinned["models"]] == [True, False]
    assert "linear" in run_millrace(["models", "list", "--models", models]).stdout


def test_models_show_tells_what_a_model_takes_and_gives(run_millrace, models):
    shutil.copytree(MODELS / "zipmap", models / "zipmap")
    shutil.copytree(MODELS / "words", models / "words")
    shown = json.loads(run_millrace(["models", "show", "zipmap", "--models", models,
                                     "-o", "json"]).stdout)
    assert (shown["model_id"], shown["version"], shown["serving"]) == ("zipmap", "1", True)
    assert shown["inputs"] == [{"name": "x", "type": "FP32", "shape": [-1, 2]}]
    assert shown["outputs"][1] == {"name": "output_probability", "type": "FP32", "shape": [-1, 2],
                                   "labels": ["0", "1"]}
    table = run_millrace(["models", "show", "words:1", "--models", models]).stdout
    assert re.search(r"input +words +INT64 +\[N,\?\]", table)
    assert "batches of any size" in table
    for name, says in (("nope", "no model 'nope'"), ("linear:7", "no version '7'; it has 1, 2")):
        done = run_millrace(["models", "show", name, "--models", models], check=False)
        assert done.returncode == 1 and says in done.stderr


def test_models_list_check_says_why_a_model_cannot_serve(run_millrace, models):
    assert run_millrace(["models", "list", "--models", models, "--check"]).stdout.count(" ok") == 2
    shutil.copytree(MODELS / "truncated", models / "truncated")
    done = run_millrace(["models", "list", "--models", models, "--check", "-o", "json"],
                        check=False)
    assert done.returncode == 1
    checks = {(m["model_id"], m["version"]): m["check"] for m in json.loads(done.stdout)["models"]}
    assert checks[("linear", "1")] == "ok"
    assert checks[("truncated", "1")] not in ("", "ok")


def test_models_list_warns_of_what_it_does_not_understand(run_millrace, models):
    (models / "-bad name").mkdir()
    done = run_millrace(["models", "list", "--models", models])
    assert "-bad name" in done.stderr
    missing = run_millrace(["models", "list", "--models", models / "nope"], check=False)
    assert missing.returncode != 0 and "nope" in missing.stderr


# -- results, dlq, verify: on a log that a worker has answered -------------------------------------

GOOD = 200
BAD = ["not json", json.dumps({**request(1), "model_id": "nobody"}),
       json.dumps({**request(2), "request_id": "short", "input": [1]}), "\t{\"x\"\x01}"]


@pytest.fixture
def answered(worker, run_millrace, log, models):
    text = lines(request(i) for i in range(GOOD)) + "".join(line + "\n" for line in BAD)
    run_millrace(["topics", "create", "--data", log, "--partitions-scale", "0.1"])
    run_millrace(["send", "--data", log, "--raw", "--tenant", "t9", "--model", "linear"],
                 input=text)
    serve_until(worker, run_millrace, log, models, GOOD + len(BAD))
    return log


def test_results_prints_tables_and_json(run_millrace, answered):
    rows = [json.loads(line) for line in
            run_millrace(["results", "--data", answered, "-o", "json"]).stdout.splitlines()]
    assert {row["request_id"] for row in rows} == {f"r{i}" for i in range(GOOD)}
    assert all(row["output"] == [int(row["request_id"][1:]) + 1000] for row in rows)
    table = run_millrace(["results", "--data", answered, "--limit", "5"]).stdout.splitlines()
    assert len(table) == 6 and table[0].startswith("REQUEST")
    assert "linear" in table[1] and " ok " in table[1]


def test_results_chooses(run_millrace, answered):
    def count(*more):
        done = run_millrace(["results", "--data", answered, "-o", "json", *more])
        return len(done.stdout.splitlines())

    assert count("--tenant", "t1") == len(range(1, GOOD, 3))
    assert count("--model", "nope") == 0
    assert count("--limit", "7") == 7
    assert count("--from", "end") == 0
    assert count("--include-dead-letters") == GOOD + len(BAD)


def test_results_finds_requests_by_id(run_millrace, answered):
    done = run_millrace(["results", "--data", answered, "-o", "json",
                         "--request-id", "r7", "--request-id", "r150"])
    found = [json.loads(line)["request_id"] for line in done.stdout.splitlines()]
    assert sorted(found) == ["r150", "r7"]
    missing = run_millrace(["results", "--data", answered, "--request-id", "r7",
                            "--request-id", "short"], check=False)
    assert missing.returncode == 1 and "short" in missing.stderr and "r7" not in missing.stderr
    assert "r7" in missing.stdout
    letter = run_millrace(["results", "--data", answered, "-o", "json", "--request-id", "short",
                           "--include-dead-letters"])
    assert json.loads(letter.stdout)["reason"] == "invalid_shape"


def test_results_follows_until_a_request_is_answered(
        millrace, worker, run_millrace, answered, models):
    follower = subprocess.Popen(
        [millrace, "results", "--data", answered, "--follow", "--request-id", "later",
         "-o", "json"], stdout=subprocess.PIPE, text=True)  # fmt: skip
    with worker("--data", answered, "--models", models):
        run_millrace(["send", "--data", answered], input=lines([request(1, request_id="later")]))
        out, _ = follower.communicate(timeout=20)
    assert follower.returncode == 0
    assert json.loads(out)["request_id"] == "later"


def test_dlq_lists_and_counts(run_millrace, answered):
    done = run_millrace(["dlq", "list", "--data", answered])
    for reason in ("decode", "unknown_model", "invalid_shape"):
        assert reason in done.stdout
    rows = [json.loads(line) for line in
            run_millrace(["dlq", "list", "--data", answered, "-o", "json"]).stdout.splitlines()]
    assert len(rows) == len(BAD)
    assert {row["value"] for row in rows} == set(BAD)
    assert all(row["original"].startswith("inference.requests:") for row in rows)
    chosen = run_millrace(["dlq", "list", "--data", answered, "-o", "json",
                           "--reason", "unknown_model"])
    assert json.loads(chosen.stdout)["model_id"] == "nobody"
    wrong = run_millrace(["dlq", "list", "--data", answered, "--reason", "bad_luck"], check=False)
    assert wrong.returncode == 2


def test_dlq_shows_one_with_its_bytes(run_millrace, answered):
    rows = [json.loads(line) for line in
            run_millrace(["dlq", "list", "--data", answered, "-o", "json"]).stdout.splitlines()]
    for row in rows:
        place = f"{row['partition']}:{row['offset']}"
        shown = run_millrace(["dlq", "show", "--data", answered, place]).stdout
        assert row["reason"] in shown and "original_offset" in shown
        assert "\x01" not in shown
        if row["value"] == "not json":
            assert "\nnot json\n" in shown
            hexed = run_millrace(["dlq", "show", "--data", answered, place, "--hex"]).stdout
            assert "6e 6f 74 20" in hexed
        one = json.loads(run_millrace(["dlq", "show", "--data", answered, f"{row['topic']}:{place}",
                                       "-o", "json"]).stdout)
        assert one == row
    assert run_millrace(["dlq", "show", "--data", answered, "0:999"], check=False).returncode == 1
    assert run_millrace(["dlq", "show", "--data", answered, "x"], check=False).returncode == 2


def verify(run_millrace, log, *more):
    done = run_millrace(["verify", "--data", log, "-o", "json", *more], check=False)
    return done.returncode, json.loads(done.stdout)


def test_verify_approves_what_a_worker_left(run_millrace, answered):
    code, report = verify(run_millrace, answered)
    assert code == 0 and report["ok"]
    assert report["requests"] == GOOD + len(BAD)
    assert (report["results"], report["dead_letters"]) == (GOOD, len(BAD))
    assert report["examined"] == 2 * (GOOD + len(BAD))
    for fault in ("missing", "duplicated", "orphaned", "order_violations", "open_transactions"):
        assert report[fault] == 0
    assert run_millrace(["verify", "--data", answered]).stdout.endswith("verify: ok\n")


def test_verify_proves_nothing_on_an_empty_log(run_millrace, log):
    run_millrace(["topics", "create", "--data", log])
    code, report = verify(run_millrace, log)
    assert code == 5 and not report["ok"] and report["examined"] == 0
    assert verify(run_millrace, log, "--allow-empty")[0] == 0
    run_millrace(["send", "--data", log], input=lines([request(1)]))
    code, report = verify(run_millrace, log)
    assert code == 5 and report["pending"] == 1


@pytest.mark.parametrize("command", [
    ["results"], ["topics", "describe"], ["dlq", "list"], ["dlq", "show", "0:0"], ["verify"],
    ["dlq", "stats"], ["dlq", "replay", "--execute"], ["dlq", "park", "--execute"],
])  # fmt: skip
def test_looking_at_a_log_that_is_not_there_makes_none(run_millrace, local_dir, command):
    done = run_millrace([*command, "--data", local_dir / "typo"], check=False)
    assert done.returncode == 1 and "typo" in done.stderr
    assert not (local_dir / "typo").exists()


def drop(database, results, _):
    database.execute(f"DELETE FROM {results} WHERE offset = 3")


def drop_last(database, results, _):
    database.execute(f"DELETE FROM {results} WHERE offset = (SELECT max(offset) FROM {results})")


def duplicate(database, results, _):
    database.execute(
        f"INSERT INTO {results} SELECT (SELECT max(offset) FROM {results}) + 1,"
        f" timestamp, key, headers, value FROM {results} WHERE offset = 3")
    number = results.removeprefix("records_")
    database.execute("UPDATE partitions SET next = next + 1 WHERE id = ?", [number])


def swap(database, results, _):
    """Two results of one key in one partition change places."""
    seen = {}
    for offset, block, value in database.execute(
            f"SELECT offset, headers, value FROM {results} ORDER BY offset").fetchall():
        found = headers(block)
        key = (json.loads(value)["tenant_id"], found["source"].rsplit(":", 1)[0])
        if key in seen:
            earlier = seen[key]
            database.execute(f"UPDATE {results} SET offset = -1 WHERE offset = ?", [earlier])
            database.execute(f"UPDATE {results} SET offset = ? WHERE offset = ?", [earlier, offset])
            database.execute(f"UPDATE {results} SET offset = ? WHERE offset = -1", [offset])
            return
        seen[key] = offset
    raise AssertionError("no two results of one key in this partition")


def wrong_key(database, results, _):
    database.execute(f"UPDATE {results} SET key = x'78' WHERE offset = 3")


def altered(database, _, dead_letters):
    database.execute(f"UPDATE {dead_letters} SET value = x'00' WHERE offset = 0")


def committed_back(database, *_):
    database.execute("UPDATE committed SET position = position - 1 WHERE partition_id ="
                     " (SELECT partition_id FROM committed WHERE position > 0 LIMIT 1)")


def committed_beyond(database, *_):
    database.execute("UPDATE committed SET position = position + 1 WHERE partition_id ="
                     " (SELECT partition_id FROM committed WHERE position > 0 LIMIT 1)")


@pytest.mark.parametrize("plant, counter", [
    (drop, "missing"), (drop_last, "missing"), (duplicate, "duplicated"),
    (swap, "order_violations"), (wrong_key, "mismatched"), (altered, "altered"),
    (committed_back, "orphaned"), (committed_beyond, "committed_beyond_end"),
])  # fmt: skip
def test_verify_finds_a_planted_fault(run_millrace, answered, plant, counter):
    database = open_log(answered)
    results = tables(database, "inference.results")
    results = max(results, key=lambda t: database.execute(f"SELECT count(*) FROM {t}").fetchone())
    plant(database, results, tables(database, "inference.dlq")[0])
    database.close()
    code, report = verify(run_millrace, answered)
    assert code == 5 and not report["ok"]
    assert report[counter] == 1, report
    assert report["examples"][counter][0]["where"].startswith("inference.")
    table = run_millrace(["verify", "--data", answered], check=False)
    assert table.returncode == 5 and f"✗ {counter}" in table.stdout


def test_verify_raises_no_alarm_beside_a_busy_worker(worker, run_millrace, log, models, local_dir):
    path = local_dir / "r.ndjson"
    path.write_text(lines(request(i) for i in range(2000)))
    run_millrace(["topics", "create", "--data", log, "--partitions-scale", "0.1"])
    with worker("--data", log, "--models", models) as running:
        for _ in range(5):
            run_millrace(["send", "--data", log, "--repeat", "5", path])
            code, report = verify(run_millrace, log, "--allow-empty")
            assert code == 0, report
        assert running.stop() == 0


@pytest.mark.parametrize("command", [
    ["send"], ["results"], ["topics"], ["topics", "create"], ["topics", "describe"], ["dlq"],
    ["dlq", "list"], ["dlq", "show"], ["dlq", "stats"], ["dlq", "replay"], ["dlq", "park"],
    ["models"], ["models", "list"], ["verify"],
])  # fmt: skip
def test_help_has_examples(run_millrace, command):
    text = run_millrace([*command, "--help"]).stdout
    assert "Usage: millrace " + " ".join(command) in text
    if command not in (["topics"], ["dlq"], ["models"]):
        assert text.count("  millrace " + " ".join(command)) >= 2 or "| millrace" in text
