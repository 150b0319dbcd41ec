"""The README's tour runs as written."""

import os
import pathlib
import re
import shutil
import subprocess

import pytest

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
