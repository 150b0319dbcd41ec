"""Which version serves is said by events: promoted under load, rolled back, tried on some keys,
retired; what cannot be loaded changes nothing; who starts later serves the same."""

import collections
import json
import pathlib
import shutil
import threading

import pytest
from helpers import dead_letters, lines, outcomes, results, verify
from waiting import wait_until

MODELS = pathlib.Path(__file__).resolve().parent.parent / "models"
# linear:1 answers x . [1, 2, 3, 4], linear:2 the same and 1000 more.
BIAS = {"1": 0.0, "2": 1000.0}


@pytest.fixture
def models(local_dir):
    shutil.copytree(MODELS / "linear", local_dir / "models" / "linear")
    return local_dir / "models"


@pytest.fixture
def log(local_dir, run_millrace):
    data = local_dir / "log"
    run_millrace(["topics", "create", "--data", data, "--partitions-scale", "0.05"])
    return data


@pytest.fixture
def serve(worker, log, models):
    def start(*settings, **keywords):
        args = ["--data", log, "--models", models, "-s", "models.linear.version=1"]
        for setting in settings:
            args += ["-s", setting]
        return worker(*args, **keywords)
    return start


@pytest.fixture
def tell(run_millrace, log):
    """tell("promote", "linear", "2", ...) -> what `models` printed."""
    def run(*args, check=True):
        return run_millrace(["models", *args, "--data", log], check=check)
    return run


@pytest.fixture
def status(run_millrace, log):
    """The one worker's state of a model, as the status topic has it."""
    def read(model="linear"):
        printed = run_millrace(["models", "status", "--data", log, "-o", "json"]).stdout
        workers = [worker for entry in json.loads(printed)["models"]
                   if entry["model_id"] == model for worker in entry["workers"]]
        return workers[0] if workers else None
    return read


def body(number, tenants=50, **extra):
    return {"request_id": f"r-{number}", "tenant_id": f"tenant-{number % tenants}",
            "model_id": "linear", "input": [number % 1000, 0, 0, 1], **extra}


def send(run_millrace, log, first, count, **extra):
    run_millrace(["send", "--data", log],
                 input=lines(body(n, **extra) for n in range(first, first + count)))


def check_answers(answers):
    """Each is the answer of the version that it names; how many there are of each."""
    for answer in answers:
        number = int(answer["request_id"].split("-")[1])
        assert answer["output"] == [number % 1000 + 4 + BIAS[answer["model_version"]]], answer
    return collections.Counter(answer["model_version"] for answer in answers)


def wait_answers(running, count):
    wait_until(lambda: outcomes(running) >= count, what=f"{count} outcomes")


def serving_version(status):
    return lambda: (status() or {}).get("state") == "serving" and status()["version"]


def test_versions_are_swapped_under_load_and_no_key_goes_back(
        run_millrace, log, serve, tell, status, models):
    sent = 0
    stop = threading.Event()

    def load():
        nonlocal sent
        while not stop.is_set():
            send(run_millrace, log, sent, 500)
            sent += 500

    with serve() as running:
        sender = threading.Thread(target=load)
        sender.start()
        try:
            wait_answers(running, 500)
            tell("promote", "linear", "2", "--models", models, "--wait", "30s")
            assert status()["version"] == "2"
            wait_answers(running, outcomes(running) + 1000)
        finally:
            stop.set()
            sender.join()
        wait_answers(running, sent)
        assert running.stop() == 0
    answers = results(run_millrace, log)
    versions = check_answers(answers)
    assert len(answers) == sent and set(versions) == {"1", "2"}, versions
    by_number = {int(a["request_id"].split("-")[1]): a["model_version"] for a in answers}
    newest = {}
    for number in sorted(by_number):
        tenant = number % 50
        assert by_number[number] >= newest.get(tenant, "1"), f"tenant {tenant} went back"
        newest[tenant] = by_number[number]
    assert dead_letters(run_millrace, log) == []
    assert verify(run_millrace, log)[0] == 0


def test_a_worker_that_starts_later_serves_what_was_promoted(
        run_millrace, log, serve, tell, status, models):
    tell("promote", "linear", "2", "--models", models)
    with serve() as running:  # The settings pin 1; the event is newer than they are.
        send(run_millrace, log, 0, 100)
        wait_answers(running, 100)
        assert running.stop() == 0
    assert check_answers(results(run_millrace, log)) == {"2": 100}
    with serve() as running:
        wait_until(lambda: status() is not None and status()["version"] == "2")
        assert running.stop() == 0
    assert status() is None, "a worker that has left has no state any more"


def test_rollback_goes_back_to_what_served_before(run_millrace, log, serve, tell, status, models):
    with serve() as running:
        tell("promote", "linear", "1", "--models", models, "--wait", "30s")
        tell("promote", "linear", "2", "--models", models, "--wait", "30s")
        send(run_millrace, log, 0, 50)
        wait_answers(running, 50)
        told = tell("rollback", "linear", "--wait", "30s").stdout
        assert "rollback linear version 1" in told
        send(run_millrace, log, 50, 50)
        wait_answers(running, 100)
        assert running.stop() == 0
    answers = results(run_millrace, log)
    assert check_answers(answers) == {"1": 50, "2": 50}
    assert all((int(a["request_id"][2:]) < 50) == (a["model_version"] == "2") for a in answers)


def test_what_cannot_be_loaded_leaves_the_old_version_serving(
        run_millrace, log, serve, tell, status, models):
    (models / "linear" / "3").mkdir()
    (models / "linear" / "3" / "model.onnx").write_bytes(b"this is no model")
    with serve() as running:
        pid = running.pid
        failed = tell("promote", "linear", "3", "--wait", "30s", check=False)
        assert failed.returncode == 1
        # It is tried again in between.
        state = wait_until(lambda: (found := status())["state"] == "failed" and found)
        assert (state["version"], state["serving"]) == ("3", "1")
        assert "serves on" in state["detail"]
        # A digest that is not the file's.
        failed = tell("promote", "linear", "2", "--sha256", "0" * 64, "--wait", "30s", check=False)
        assert failed.returncode == 1
        wait_until(lambda: "sha256" in status()["detail"], what="a word of the digest")
        # A version that nobody has.
        tell("promote", "linear", "9")
        wait_until(lambda: "no version '9'" in status()["detail"])
        metrics = running.metrics()
        assert metrics['millrace_model_state{model="linear",version="3",state="failed"}'] == 1
        assert metrics['millrace_model_state{model="linear",version="1",state="serving"}'] == 1
        send(run_millrace, log, 0, 100)
        wait_answers(running, 100)
        assert running.pid == pid and running.stop() == 0
    assert check_answers(results(run_millrace, log)) == {"1": 100}


def test_a_worker_that_cannot_load_what_was_promoted_starts_with_what_served_before(
        run_millrace, log, serve, tell, status, models):
    tell("promote", "linear", "2", "--models", models)
    tell("promote", "linear", "9")
    with serve() as running:
        assert wait_until(status)["state"] == "failed"
        assert status()["serving"] == "2"
        send(run_millrace, log, 0, 50)
        wait_answers(running, 50)
        # It comes, and serves without a further word.
        shutil.copytree(models / "linear" / "1", models / "linear" / "9")
        wait_until(lambda: status()["state"] == "serving" and status()["version"] == "9")
        assert running.stop() == 0
    assert check_answers(results(run_millrace, log)) == {"2": 50}


def test_a_canary_answers_its_share_of_the_keys_and_always_the_same(
        run_millrace, log, serve, tell, status, models):
    tenants = 400
    with serve() as running:
        tell("promote", "linear", "2", "--canary", "25", "--models", models, "--wait", "30s")
        assert "canary version 2" in status()["detail"]
        send(run_millrace, log, 0, 4 * tenants, tenants=tenants)
        wait_answers(running, 4 * tenants)
        first = results(run_millrace, log)
        tell("promote", "linear", "2", "--canary", "60", "--models", models, "--wait", "30s")
        send(run_millrace, log, 4 * tenants, 4 * tenants, tenants=tenants)
        wait_answers(running, 8 * tenants)
        tell("retire", "linear", "2", "--wait", "30s")
        send(run_millrace, log, 8 * tenants, tenants, tenants=tenants)
        wait_answers(running, 9 * tenants)
        assert running.stop() == 0
    answers = results(run_millrace, log)
    check_answers(answers)
    of_tenant = collections.defaultdict(lambda: collections.defaultdict(set))
    for answer in answers:
        number = int(answer["request_id"][2:])
        of_tenant[min(number // (4 * tenants), 2)][number % tenants].add(answer["model_version"])
    assert all(len(versions) == 1 for part in of_tenant.values() for versions in part.values())
    canary = [{t for t, versions in of_tenant[part].items() if versions == {"2"}}
              for part in range(3)]
    assert 60 <= len(canary[0]) <= 140 and 200 <= len(canary[1]) <= 280 and not canary[2]
    assert canary[0] < canary[1]
    assert len(first) == 4 * tenants


def test_a_shadow_answers_nobody_and_tells_how_far_it_is_off(
        run_millrace, log, serve, tell, status, models):
    with serve() as running:
        tell("promote", "linear", "2", "--shadow", "--models", models, "--wait", "30s")
        assert "version 2 shadows it" in status()["detail"]
        send(run_millrace, log, 0, 300)
        wait_answers(running, 300)
        name = 'millrace_shadow_results_total{model="linear",version="2"}'
        wait_until(lambda: running.metrics().get(name) == 300, what="300 results of the shadow")
        tell("retire", "linear", "2", "--wait", "30s")
        send(run_millrace, log, 300, 100)
        wait_answers(running, 400)
        assert running.metrics()[name] == 300
        assert running.stop() == 0
    assert check_answers(results(run_millrace, log)) == {"1": 400}
    shadows = results(run_millrace, log, "-s", "topics.results=inference.shadow")
    assert len(shadows) == 300 and check_answers(shadows) == {"2": 300}
    for one in shadows:
        assert one["shadow_of"] == "1"
        assert one["difference"]["max_absolute"] == 1000
        assert (one["difference"]["compared"], one["difference"]["differing"]) == (1, 1)
    assert verify(run_millrace, log)[0] == 0


def test_a_request_may_name_any_version_that_serves(run_millrace, log, serve, tell, models):
    with serve() as running:
        tell("promote", "linear", "2", "--canary", "1", "--models", models, "--wait", "30s")
        send(run_millrace, log, 0, 20, model_version="2")
        send(run_millrace, log, 20, 20, model_version="1")
        send(run_millrace, log, 40, 20, model_version="7")
        wait_answers(running, 60)
        assert running.stop() == 0
    assert check_answers(results(run_millrace, log)) == {"1": 20, "2": 20}
    letters = dead_letters(run_millrace, log)
    assert len(letters) == 20 and {letter["reason"] for letter in letters} == {"unknown_model"}


def test_a_retired_model_has_dead_letters_until_it_is_promoted_again(
        run_millrace, log, serve, tell, models):
    with serve("repository.allow_missing_for=1h") as running:
        tell("retire", "linear", "--wait", "30s")
        send(run_millrace, log, 0, 30)
        wait_answers(running, 30)
        tell("promote", "linear", "1", "--models", models, "--wait", "30s")
        send(run_millrace, log, 30, 30)
        wait_answers(running, 60)
        assert running.stop() == 0
    letters = dead_letters(run_millrace, log)
    assert len(letters) == 30 and {letter["reason"] for letter in letters} == {"unknown_model"}
    assert check_answers(results(run_millrace, log)) == {"1": 30}


def test_the_commands_say_what_is_wrong(run_millrace, tell, models, log):
    for args, word in ((("promote", "../x", "1"), "does not match"),
                       (("promote", "linear", "9", "--models", models), "it has 1, 2"),
                       (("promote", "linear", "2", "--models", models, "--sha256", "ab"), "sha256"),
                       (("rollback", "linear"), "no earlier version"),
                       (("status", "nobody"), "nobody")):
        failed = tell(*args, check=False)
        assert failed.returncode != 0 and word in failed.stderr, (args, failed.stderr)


def test_verify_holds_files_against_what_events_want(run_millrace, log, tell, models):
    def verified(*args):
        done = run_millrace(["models", "verify", "--models", models, "-o", "json", *args],
                            check=False)
        return done.returncode, {m["version"]: m for m in json.loads(done.stdout)["models"]}

    tell("promote", "linear", "2", "--models", models)
    code, of = verified("--events", "--data", log)
    assert code == 0 and of["2"]["against"] == "event" and of["1"]["against"] == ""
    shutil.copy(models / "linear" / "1" / "model.onnx", models / "linear" / "2" / "model.onnx")
    code, of = verified("--events", "--data", log)
    assert code == 5 and "the event wants" in of["2"]["fault"] and of["1"]["ok"]
    assert verified()[0] == 0
    (models / "linear" / "1" / "model.yaml").write_text(f"sha256: {'0' * 64}\n")
    code, of = verified("linear:1")
    assert code == 5 and "model.yaml says" in of["1"]["fault"] and list(of) == ["1"]
