"""The README's tour runs as written."""

import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest
from helpers import outcomes
from waiting import wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOUR = pathlib.Path("/tmp/millrace-tour")


def shell_blocks(page):
    """The ```sh blocks of a Markdown page."""
    return re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture
def tour():
    shutil.rmtree(TOUR, ignore_errors=True)
    yield
    shutil.rmtree(TOUR, ignore_errors=True)


def test_the_tour_runs_as_written(tour, millrace):
    (block,) = shell_blocks(ROOT / "README.md")
    if millrace != (ROOT / "build" / "millrace").resolve():
        block = block.replace("build/millrace", str(millrace))
    script = "set -eu -o pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n" + block
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True,
                          timeout=120, env={**os.environ, "NO_COLOR": "1"})
    print(done.stdout, done.stderr)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "cancer-gbt" in done.stdout, "models list names the models"
    assert "verify: ok" in done.stdout
    assert "invalid_shape" in done.stdout, "the dead letter of the tour is listed"


def test_make_targets_of_the_readme_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"\bmake ([a-z-]+)\b", (ROOT / "README.md").read_text())):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"make {target} is not a target"


@pytest.fixture
def night(worker, run_millrace, local_dir, millrace):
    """The environment of somebody who looks at a log in which requests have failed."""
    log = local_dir / "log"
    shutil.copytree(ROOT / "tests" / "models" / "linear", local_dir / "models" / "linear")
    bodies = [{"request_id": f"r-{i}", "tenant_id": f"clinic-{i % 9}", "input": [1] * (i % 4),
               "model_id": "cancer-mlp" if i % 2 else "linear"} for i in range(40)]
    run_millrace(["send", "--data", log, "--raw"], input="\n".join(map(json.dumps, bodies)))
    with worker("--data", log, "--models", local_dir / "models") as running:
        wait_until(lambda: outcomes(running) == len(bodies))
        assert running.stop() == 0
    (local_dir / "bin").mkdir()
    (local_dir / "bin" / "millrace").symlink_to(millrace)
    return {**os.environ, "NO_COLOR": "1", "PATH": f"{local_dir / 'bin'}:{os.environ['PATH']}",
            "MILLRACE_TRANSPORT": "local", "MILLRACE_LOCAL_DIR": str(log)}


def test_the_page_on_dead_letters_runs_as_written(night, local_dir):
    script = "set -eux\n" + "".join(shell_blocks(ROOT / "docs" / "dead-letters.md"))
    done = subprocess.run(["bash", "-c", script], cwd=local_dir, capture_output=True, text=True,
                          timeout=120, env=night)
    print(done.stdout, done.stderr)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "replayed 20 of 20 dead letters" in done.stdout
    assert "nothing to replay" in done.stdout
    assert re.search(r"^parked [1-9]", done.stdout, re.MULTILINE)
    assert "were parked" in done.stdout and "verify: ok" in done.stdout
