"""`millrace demo` and `millrace bench`, small; the admin listener's metrics."""

import json
import pathlib
import re

import pytest
from helpers import lines, pending, request
from waiting import wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_demo_ends_with_an_audit_that_is_ok(run_millrace, local_dir):
    done = run_millrace(["demo", "--requests", "6000", "--steady-rate", "5000",
                         "--data", local_dir / "demo"])
    assert "verify: ok" in done.stdout
    for reason in ("decode", "invalid_shape", "invalid_value", "unknown_model"):
        assert reason in done.stdout, f"the demo shows a dead letter for {reason}"
    accuracy = {model: float(percent) for model, percent in
                re.findall(r"(cancer-mlp|cancer-gbt|digits-mlp) +\S+ +([\d.]+) %", done.stdout)}
    assert len(accuracy) == 3 and all(value > 90 for value in accuracy.values()), accuracy


def test_what_the_demo_says_to_type_next_works(run_millrace, local_dir):
    done = run_millrace(["demo", "--requests", "2000", "--data", local_dir / "demo"])
    commands = re.findall(r"^  millrace (.+)$", done.stdout, re.MULTILINE)
    assert len(commands) == 5
    for command in commands:
        run_millrace(command.split())


def test_demo_leaves_a_folder_of_yours_alone(run_millrace, local_dir):
    (local_dir / "precious").write_text("x")
    done = run_millrace(["demo", "--data", local_dir], check=False)
    assert done.returncode == 2
    assert (local_dir / "precious").read_text() == "x"


def test_bench_prints_the_contract_s_figures(run_millrace):
    done = run_millrace(["bench", "--models", ROOT / "examples/demo/models",
                         "--model", "cancer-mlp", "--requests", "5000",
                         "--latency-seconds", "1", "-o", "json"])
    report = json.loads(done.stdout)
    for field in ("requests", "seconds", "requests_per_second", "cpu_seconds",
                  "cpu_us_per_request", "p50_ms", "p95_ms", "p99_ms", "max_rss_mib"):
        assert report[field] > 0, field


def test_bench_of_an_unknown_model_says_where_it_looked(run_millrace):
    done = run_millrace(["bench", "--models", ROOT / "examples/demo/models", "--model", "nope"],
                        check=False)
    assert done.returncode == 1 and "nope" in done.stderr and "models list" in done.stderr


@pytest.fixture
def serving(worker, local_dir):
    with worker("--data", local_dir / "log", "--models", ROOT / "examples/demo/models") as running:
        yield running


CONTRACT_FAMILIES = """
millrace_records_consumed_total millrace_records_produced_total millrace_requests_total
millrace_request_duration_seconds millrace_end_to_end_duration_seconds millrace_batch_rows
millrace_batches_total millrace_queue_rows millrace_consumer_lag_records
millrace_consumer_lag_seconds millrace_transactions_total millrace_transaction_duration_seconds
millrace_dead_letters_total millrace_model_state millrace_model_load_duration_seconds
millrace_tenant_requests_total millrace_rebalances_total millrace_assigned_partitions
millrace_build_info process_cpu_seconds_total process_resident_memory_bytes
""".split()


def test_metrics_have_the_families_of_the_contract(serving, run_millrace, local_dir):
    log = local_dir / "log"
    good = [request(i, model="cancer-mlp", input=[0.5] * 30) for i in range(50)]
    bad = [request(i, model="cancer-mlp", input=[1]) for i in range(50, 53)]
    run_millrace(["send", "--data", log], input=lines(good + bad))
    wait_until(lambda: pending(run_millrace, log) == 0)
    status, text = serving.get("/metrics")
    assert status == 200
    families = set(re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE))
    assert set(CONTRACT_FAMILIES) <= families, set(CONTRACT_FAMILIES) - families
    def lags():
        return [v for k, v in serving.metrics().items()
                if k.startswith("millrace_consumer_lag_records{")]

    # A commit counts after others see it, and the lag is looked up once a second.
    wait_until(lambda: len(lags()) == 64 and sum(lags()) == 0)
    samples = serving.metrics()
    assert samples['millrace_dead_letters_total{reason="invalid_shape",model="cancer-mlp"}'] == 3
    assert samples['millrace_records_consumed_total{topic="inference.requests"}'] == 53


def test_health_and_status_page(serving):
    for path in ("/livez", "/readyz", "/startupz", "/readyz?verbose", "/"):
        status, _ = serving.get(path)
        assert status == 200, path
    status = json.loads(serving.get("/api/v1/status")[1])
    assert status["state"] == "ready" and len(status["models"]) == 3
    assert {"mr-intake", "mr-commit", "mr-exec-0", "mr-admin"} <= {
        thread["name"] for thread in status["threads"]}
