"""The memory budget: said, exported, and kept when far more comes than can be answered."""

import json
import re

import pytest
from helpers import lines, outcomes, pending, request, verify
from waiting import wait_until

MIB = 1 << 20
PARTS = {"in_flight", "kept_requests", "kept_outcomes", "caches", "headroom"}


@pytest.fixture
def models(local_dir):
    """A model with wide rows and wide answers that takes its time."""
    version = local_dir / "models" / "wide" / "1"
    version.mkdir(parents=True)
    (version / "model.test").write_text("elements=1000\noutputs=1000\nrow_us=300\n")
    return local_dir / "models"


def parts_of(metrics, name):
    found = {re.search(r'part="(\w+)"', sample).group(1): value
             for sample, value in metrics.items() if sample.startswith(name + "{")}
    assert found, f"no {name}"
    return found


def resident_mib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return int(re.search(r"VmRSS:\s+(\d+)", status.read()).group(1)) / 1024


def test_budget_is_said_exported_and_shown(local_dir, worker, models):
    with worker("--data", local_dir / "log", "--models", models,
                "-s", "memory.budget=64MiB") as running:
        said = running.log.read_text()
        assert "memory_budget" in said and "in_flight 32MiB" in said, said
        assert "memory_budget_exceeded" not in said
        budget = parts_of(running.metrics(), "millrace_memory_budget_bytes")
        assert set(budget) == PARTS and sum(budget.values()) == 64 * MIB
        used = parts_of(running.metrics(), "millrace_memory_used_bytes")
        assert set(used) <= set(budget)
        memory = json.loads(running.get("/api/v1/status")[1])["memory"]
        assert memory["budget"] == 64 * MIB and memory["parts"] == budget
        assert 0 < memory["at_start"] <= memory["limit"] and memory["resident"] > 0


def test_limits_that_are_set_beyond_the_budget_are_kept_with_a_warning(local_dir, worker, models):
    with worker("--data", local_dir / "log", "--models", models, "-s", "memory.budget=64MiB",
                "-s", "delivery.max_in_flight_bytes=64MiB") as running:
        assert "memory_budget_exceeded" in running.log.read_text()
        budget = parts_of(running.metrics(), "millrace_memory_budget_bytes")
        assert budget["in_flight"] == 128 * MIB and sum(budget.values()) > 128 * MIB


@pytest.mark.parametrize("given, said", [
    (["memory.budget=1MiB"], "between 32MiB and 1TiB"),
    (["memory.budget=64MiB", "limits.max_request_bytes=32MiB"], "at least 128MiB"),
    (["delivery.max_unit_bytes=5"], "at least 64KiB"),
    (["delivery.max_in_flight_bytes=8MiB", "delivery.max_unit_bytes=16MiB"], "must not be over"),
])
def test_budget_that_cannot_be_says_what_would_do(run_millrace, given, said):
    flags = [word for one in given for word in ("-s", one)]
    done = run_millrace(["config", "check", *flags], check=False)
    assert done.returncode == 3 and said in done.stderr, done.stderr


def test_backlog_stays_in_the_log_and_not_in_memory(local_dir, run_millrace, worker, models):
    log, count = local_dir / "log", 6_000
    values = [round(0.001 * number, 3) for number in range(1000)]
    run_millrace(["topics", "create", "--data", log, "--partitions-scale", "0.05"])
    run_millrace(["send", "--data", log], input=lines(
        request(number, model="wide", input=values) for number in range(count)))
    with worker("--data", log, "--models", models, "-s", "memory.budget=32MiB",
                "-s", "executor.threads=1") as running:
        before, most, in_flight = resident_mib(running.pid), 0, 0
        while (left := count - outcomes(running)) > count // 4:
            used = parts_of(running.metrics(), "millrace_memory_used_bytes")
            in_flight = max(in_flight, used["in_flight"])
            most = max(most, resident_mib(running.pid))
        # Each request holds some 20 KB: a bound on their number alone would let in 100 MiB.
        assert in_flight > 8 * MIB, "the bound was not reached"
        assert in_flight < (16 + 6) * MIB, "more than the part and one poll"
        assert most - before < 40, f"{before:.0f} MiB became {most:.0f}"
        wait_until(lambda: pending(run_millrace, log) == 0)
        assert running.stop() == 0
    status, report = verify(run_millrace, log)
    assert status == 0 and report["results"] == count, report
