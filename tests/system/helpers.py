"""What the system tests share: requests with known answers, and waiting for them."""

import json
import pathlib
import shutil

MODELS = pathlib.Path(__file__).resolve().parent.parent / "models"
SLOW_SECONDS = 12

# The test models' repository: `linear` answers x . [1, 2, 3, 4], `gather` fails its whole batch for
# an index out of range.
LINEAR = "linear"


def request(number, tenant=None, model=LINEAR, **extra):
    """Request `number`, whose answer is expected_output(number)."""
    body = {
        "request_id": f"r-{number}",
        "tenant_id": tenant or f"tenant-{number % 7}",
        "model_id": model,
        "input": [number % 1000, 0, 0, 1],
    }
    body.update(extra)
    return body


def expected_output(number):
    return [float(number % 1000 + 4)]


def slow_repository(folder):
    """A repository with `linear`, and `slow`: an input that begins with 77 takes SLOW_SECONDS."""
    (folder / "slow" / "1").mkdir(parents=True)
    (folder / "slow" / "1" / "model.test").write_text(
        f"elements=4\nslow_value=77\nslow_us={SLOW_SECONDS * 1_000_000}\n")
    shutil.copytree(MODELS / "linear", folder / "linear")
    return folder


def lines(bodies):
    return "".join(json.dumps(body) + "\n" for body in bodies)


def verify(run_millrace, data, group="millrace", check=False):
    """(exit status, report) of `millrace verify -o json`."""
    done = run_millrace(["verify", "--data", data, "-g", group, "-o", "json"], check=check)
    assert done.stdout.strip(), f"verify printed nothing: {done.stderr}"
    return done.returncode, json.loads(done.stdout)


def outcomes(worker):
    """Results and dead letters that the worker has committed since it started."""
    return sum(value for name, value in worker.metrics().items()
               if name.startswith("millrace_records_produced_total"))


def pending(run_millrace, data, group="millrace"):
    """Requests that the group has not committed; all of them when it never came."""
    done = run_millrace(["topics", "describe", "--data", data, "-g", group, "-o", "json"])
    (requests,) = [t for t in json.loads(done.stdout) if t["topic"] == "inference.requests"]
    return sum(p["end"] - (p["start"] if p.get("committed") is None else p["committed"])
               for p in requests["partitions"])


def results(run_millrace, data, *args):
    done = run_millrace(["results", "--data", data, "-o", "json", *args], timeout=300)
    return [json.loads(line) for line in done.stdout.splitlines()]


def dead_letters(run_millrace, data, *args):
    done = run_millrace(["dlq", "list", "--data", data, "-o", "json", "--limit", "0", *args])
    return [json.loads(line) for line in done.stdout.splitlines()]
