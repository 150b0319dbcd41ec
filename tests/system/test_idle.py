"""A worker that has nothing to do: what it costs, and the threads that it is made of."""

import pathlib
import re
import shutil
import time

from helpers import LINEAR, MODELS, lines, outcomes, request
from waiting import wait_until

ARCHITECTURE = pathlib.Path(__file__).resolve().parent.parent.parent / "ARCHITECTURE.md"
SECONDS = 6
EXECUTORS = 2
# What a worker on the local log is, by name; `millrace` is the first thread.
THREADS = ["millrace", "mr-intake", "mr-exec-0", "mr-exec-1", "mr-watch", "mr-commit", "mr-admin",
           "mr-signals", "mr-log", "mr-events", "mr-models", "mr-shadow", "mr-idle",
           "jemalloc_bg_thd"]


def documented_threads():
    """Patterns of the names in the table of threads."""
    text = ARCHITECTURE.read_text()
    table = text[text.index("| name | how many |"):]
    table = table[:table.index("\n\n")]
    names = [name for row in table.splitlines()[2:]
             for name in re.findall(r"`([^`]+)`", row.split("|")[1])]
    assert len(names) > 5, table
    return [re.compile(re.escape(name).replace("N", r"\d+").replace("…", r".*")) for name in names]


def test_idle_worker_costs_next_to_nothing_and_is_the_threads_that_are_listed(
        run_millrace, worker, local_dir):
    shutil.copytree(MODELS / LINEAR, local_dir / "models" / LINEAR)
    data = local_dir / "log"
    with worker("--data", data, "--models", local_dir / "models",
                "-s", f"executor.threads={EXECUTORS}", "-s", "runtime.idle_shrink=1s") as running:
        run_millrace(["send", "--data", data], input=lines(request(n) for n in range(500)))
        wait_until(lambda: outcomes(running) == 500)
        time.sleep(1)  # The last commit and what follows it.
        share = running.cores_used(SECONDS)
        names = running.thread_names()
        assert share < 0.01, f"{100 * share:.2f} % of a core"
        # Connections of what looked at the worker are served by the thread that is there.
        assert names == sorted(THREADS), names
        patterns = documented_threads()
        for name in set(names) - {"millrace"}:
            assert any(pattern.fullmatch(name) for pattern in patterns), f"{name} is not listed"
        assert running.stop() == 0


def test_a_model_of_several_threads_does_not_spin_when_it_is_idle(run_millrace, worker, local_dir):
    shutil.copytree(MODELS / LINEAR, local_dir / "models" / LINEAR)
    data = local_dir / "log"
    with worker("--data", data, "--models", local_dir / "models",
                "-s", f"executor.threads={EXECUTORS}",
                "-s", f"models.{LINEAR}.intra_op_threads=3") as running:
        run_millrace(["send", "--data", data], input=lines(request(n) for n in range(500)))
        wait_until(lambda: outcomes(running) == 500)
        time.sleep(1)
        assert running.cores_used(SECONDS) < 0.01
        assert running.thread_names() == sorted(THREADS + ["mr-engine"] * 2)
        assert running.stop() == 0
