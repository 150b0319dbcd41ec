"""A model that crashes the process: `serve --supervise` and its journal."""

import collections
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time

import pytest
from helpers import dead_letters, expected_output, lines, pending, request, results, verify
from waiting import wait_until

LINEAR = pathlib.Path(__file__).resolve().parent.parent / "models" / "linear"
CRASH = -13  # A row that begins with it ends the process.
SLOW = 77  # A run with a row that begins with it takes 300 ms.
COUNT = 2_000
FAST_RESTART = 20.0  # A second is the aim; a test's machine may be busy.
AT_ONCE = 30.0  # Well below what else would be waited for.


@pytest.fixture
def models(local_dir):
    repository = local_dir / "models"
    for name, behaviour in (("crash", f"crash_value={CRASH}\nrun_us=2000\n"),
                            ("thread", f"crash_value={CRASH}\ncrash_on=thread\nrun_us=2000\n"),
                            ("slow", f"slow_value={SLOW}\nslow_us=300000\n"),
                            ("hang", f"hang_value={SLOW}\n")):
        (repository / name / "1").mkdir(parents=True)
        (repository / name / "1" / "model.test").write_text(f"elements=4\n{behaviour}")
    return repository


@pytest.fixture
def log(local_dir, run_millrace):
    data = local_dir / "log"
    run_millrace(["topics", "create", "--data", data, "--partitions-scale", "0.05"])
    return data


@pytest.fixture
def supervised(worker, log, models):
    """`with supervised(args...) as w:` runs `serve --supervise`; w is the supervisor."""

    def start(*args, **keywords):
        return worker("--supervise", "--data", log, "--models", models,
                      "--log-format", "json", "-s", "executor.threads=2", *args, **keywords)

    return start


def send(run_millrace, log, count, crashing=(), model="crash"):
    def first_of(number):
        return CRASH if number in crashing else SLOW if model == "slow" else number

    run_millrace(["send", "--data", log], input=lines(
        request(number, model=model, input=[first_of(number), 0, 0, 0])
        for number in range(count)))


def events(running, name):
    """The log's events of a name, supervisor's and workers'."""
    found = []
    for line in running.log.read_text(errors="replace").splitlines():
        if line.startswith("{") and f'"{name}"' in line:
            event = json.loads(line)
            if event["event"] == name:
                found.append(event)
    return found


def child_of(pid):
    """The worker of a supervisor, None between two of them."""
    try:
        words = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return None
    return int(words[0]) if words else None


def alive(pid):
    """Whether the process runs; a zombie that nobody has waited for does not."""
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rsplit(")", 1)[1].split()[0] != "Z"


def assert_answered(run_millrace, log, count, crashing):
    """Each request has one outcome: those that crash a dead letter, all others their result."""
    status, report = verify(run_millrace, log)
    assert status == 0 and report["requests"] == count, report
    answered = collections.Counter(r["request_id"] for r in results(run_millrace, log))
    letters = dead_letters(run_millrace, log)
    assert {letter["reason"] for letter in letters} == ({"model_crash"} if crashing else set())
    assert len(letters) == len(crashing)
    assert answered == collections.Counter(
        f"r-{number}" for number in range(count) if number not in crashing)
    return letters


def test_request_that_crashes_the_worker_is_found_and_all_others_are_answered(
        run_millrace, supervised, log):
    crashing = {1234}
    send(run_millrace, log, COUNT, crashing)
    with supervised(ready=False) as running:
        wait_until(lambda: pending(run_millrace, log) == 0)
        running.wait_ready()
        metrics = running.metrics()
        assert metrics["millrace_worker_restarts_total"] == 2
        wait_until(lambda: running.metrics()["millrace_crash_suspects"] == 0,
                   what="a verdict that is committed is forgotten")
        died = events(running, "worker_died")
        assert [event["signal"] for event in died] == ["SIGABRT", "SIGABRT"]
        assert [event["restarts"] for event in died] == [1, 2]
        assert died[0]["pause_ms"] == 0, "the first restart is at once"
        found = events(running, "crash_suspects")
        assert {(event["signal"], event["model"]) for event in found} == {("SIGABRT", "crash:1")}
        assert len(found) == 2
        assert found[0]["requests"] > 1 and found[0]["dead"] == 0
        assert found[1]["requests"] == 1 and found[1]["dead"] == 1, "it ran alone and crashed again"
        assert running.stop() == 0
    (letter,) = assert_answered(run_millrace, log, COUNT, crashing)
    assert "2 times" in letter["detail"] and "SIGABRT" in letter["detail"], letter
    assert "crash:1" in letter["detail"]
    assert letter["headers"]["model_version"] == "1"


@pytest.mark.parametrize("crashing", [{500, 501, 502}, {3, 900, 1900}],
                         ids=["together", "apart"])
def test_several_requests_that_crash_are_all_found(crashing, run_millrace, supervised, log):
    send(run_millrace, log, COUNT, crashing)
    with supervised(ready=False) as running:
        wait_until(lambda: pending(run_millrace, log) == 0)
        died = events(running, "worker_died")
        assert len(crashing) < len(died) <= 2 * len(crashing), "one life alone for each at least"
        assert running.stop() == 0
    assert_answered(run_millrace, log, COUNT, crashing)


def test_crash_on_a_thread_of_the_engine_blames_the_runs_of_its_model(
        run_millrace, supervised, log):
    """Two executors run the model at the same time; the one that did not crash is cleared."""
    send(run_millrace, log, COUNT, {40, 41, 1500}, model="thread")
    with supervised(ready=False) as running:
        wait_until(lambda: pending(run_millrace, log) == 0)
        assert len(events(running, "worker_died")) <= 6
        assert running.stop() == 0
    assert_answered(run_millrace, log, COUNT, {40, 41, 1500})


def test_journal_in_a_file_serves_without_a_supervisor(
        run_millrace, worker, log, models, local_dir):
    crashing = {77}
    send(run_millrace, log, 200, crashing)
    args = ["--data", log, "--models", models, "-s", f"executor.crash_journal={local_dir}/journal"]
    for _ in range(2):
        with worker(*args, ready=False) as running:
            assert running.process.wait(60) == -signal.SIGABRT, "the signal is not hidden"
    with worker(*args) as running:
        wait_until(lambda: pending(run_millrace, log) == 0)
        assert running.stop() == 0
    assert_answered(run_millrace, log, 200, crashing)


def test_without_a_journal_a_crash_comes_again(run_millrace, worker, log, models):
    """What the journal is for: nobody else tells the requests of a run apart."""
    send(run_millrace, log, 50, {7})
    for _ in range(3):
        with worker("--data", log, "--models", models, ready=False) as running:
            assert running.process.wait(60) == -signal.SIGABRT
    assert dead_letters(run_millrace, log) == []


def test_kill_9_blames_no_request(run_millrace, supervised, log):
    """Killed in the middle of the same runs, time and again."""
    send(run_millrace, log, 200, model="slow")
    with supervised() as running:
        for kills in range(1, 4):
            worker_pid = wait_until(lambda: child_of(running.pid))
            running.wait_ready()
            time.sleep(0.1)
            os.kill(worker_pid, signal.SIGKILL)
            wait_until(lambda: len(events(running, "worker_died")) == kills)
        running.wait_ready()
        assert {event["signal"] for event in events(running, "worker_died")} == {"SIGKILL"}
        assert events(running, "crash_suspects") == []
        wait_until(lambda: pending(run_millrace, log) == 0)
        assert running.stop() == 0
    assert_answered(run_millrace, log, 200, set())


def test_crash_costs_little_time(supervised):
    with supervised() as running:
        started = time.monotonic()
        os.kill(child_of(running.pid), signal.SIGKILL)
        wait_until(lambda: events(running, "worker_died"))
        running.wait_ready()
        took = time.monotonic() - started
        print(f"ready again after {took:.2f} s")
        assert took < FAST_RESTART
        assert running.stop() == 0


def test_sigterm_to_the_supervisor_drains_and_exits_0(run_millrace, supervised, log):
    send(run_millrace, log, 500, model="slow")
    with supervised() as running:
        worker_pid = child_of(running.pid)
        time.sleep(0.3)
        assert running.stop() == 0
        assert not alive(worker_pid)
        assert len(events(running, "stopped")) == 1 and not events(running, "drain_incomplete")
        assert events(running, "worker_died") == []
    assert verify(run_millrace, log)[0] == 0


def test_sigterm_to_both_is_one_stop(run_millrace, supervised, log):
    """systemd signals every process of a unit, a terminal its foreground."""
    send(run_millrace, log, 500, model="slow")
    with supervised() as running:
        time.sleep(0.3)
        os.kill(child_of(running.pid), signal.SIGTERM)
        assert running.stop() == 0
        assert len(events(running, "stopped")) == 1


def test_second_sigterm_leaves_at_once(run_millrace, supervised, log):
    run_millrace(["send", "--data", log],
                 input=lines([request(0, model="hang", input=[SLOW, 0, 0, 0])]))
    with supervised("-s", "delivery.drain_timeout=10m", "-s", "models.hang.timeout=10m") as running:
        worker_pid = child_of(running.pid)
        wait_until(lambda: running.metrics()["millrace_in_flight_records"] == 1)
        started = time.monotonic()
        running.process.terminate()
        wait_until(lambda: events(running, "stopping"))
        assert running.stop(timeout=60) == 128 + signal.SIGTERM
        assert time.monotonic() - started < AT_ONCE
        assert not alive(worker_pid)


def test_stop_between_two_workers_starts_none(run_millrace, supervised, log):
    send(run_millrace, log, 50, {1})
    with supervised("-s", "retry.initial_backoff=60s", "-s", "retry.max_backoff=60s",
                    ready=False) as running:
        wait_until(lambda: len(events(running, "worker_died")) == 2)
        started = time.monotonic()
        assert running.stop() == 0
        assert time.monotonic() - started < AT_ONCE
        assert child_of(running.pid) is None


def test_worker_that_exits_by_itself_ends_the_supervisor(run_millrace, log, models, local_dir):
    """Settings that are wrong, in the supervisor's eyes or the worker's: no loop."""
    args = ["serve", "--supervise", "--data", log]
    done = run_millrace([*args, "--models", models, "-s", "batch.max_rows=0"], check=False)
    assert done.returncode == 3 and "worker_died" not in done.stderr
    done = run_millrace([*args, "--models", local_dir / "nothing"], check=False)
    alone = run_millrace(["serve", "--data", log, "--models", local_dir / "nothing"], check=False)
    assert done.returncode == alone.returncode != 0
    assert alone.stderr.splitlines()[-1] in done.stderr and "worker_died" not in done.stderr
    (local_dir / "text").write_text("this is no journal of crashes\n")
    done = run_millrace([*args, "--models", models, "-s",
                         f"executor.crash_journal={local_dir}/text"], check=False)
    assert done.returncode == 3 and "no crash journal" in done.stderr
    assert (local_dir / "text").read_text() == "this is no journal of crashes\n"


def test_worker_dies_with_its_supervisor(supervised):
    with supervised() as running:
        worker_pid = child_of(running.pid)
        running.kill()
        wait_until(lambda: not alive(worker_pid), timeout=5, every=0.01)


def test_threads_of_the_runtime_are_named_and_work(run_millrace, worker, log, models):
    shutil.copytree(LINEAR, models / "linear")
    run_millrace(["send", "--data", log], input=lines(request(number) for number in range(500)))
    with worker("--data", log, "--models", models, "-s", "models.linear.version=1",
                "-s", "models.linear.intra_op_threads=3") as running:
        names = [path.read_text().strip()
                 for path in pathlib.Path(f"/proc/{running.pid}/task").glob("*/comm")]
        assert names.count("mr-engine") == 2, names
        wait_until(lambda: pending(run_millrace, log) == 0)
        assert running.stop() == 0
    answered = {r["request_id"]: r["output"] for r in results(run_millrace, log)}
    assert answered == {f"r-{number}": expected_output(number) for number in range(500)}


def test_worker_is_seen_under_its_own_name_and_arguments(supervised):
    with supervised() as running:
        worker_pid = child_of(running.pid)
        words = subprocess.run(["ps", "-o", "comm=,args=", "-p", str(worker_pid)],
                               capture_output=True, text=True, check=True).stdout.split()
        assert words[0] == "millrace" and "--supervise" not in words
        assert running.stop() == 0
