"""One tenant's backlog keeps no other tenant of its partition waiting, and exactly-once holds."""

import pytest
from helpers import lines, pending, request, results, verify
from waiting import wait_until

NOISE, LIGHT = 1_500, 20


@pytest.fixture
def models(local_dir):
    """A model that takes 6 ms a row: the noise takes nine seconds."""
    version = local_dir / "models" / "heavy" / "1"
    version.mkdir(parents=True)
    (version / "model.test").write_text("elements=4\nrow_us=6000\n")
    return local_dir / "models"


@pytest.fixture
def log(local_dir, run_millrace):
    """A log of one partition: the noise, and behind it what another tenant wants."""
    data = local_dir / "log"
    run_millrace(["topics", "create", "--data", data, "--partitions-scale", "0.01"])
    noise = [request(number, tenant="noisy", model="heavy") for number in range(NOISE)]
    light = [request(NOISE + number, tenant="light", model="heavy") for number in range(LIGHT)]
    run_millrace(["send", "--data", data], input=lines([*noise, *light]))
    return data


def test_light_tenant_does_not_wait_for_anothers_backlog_to_be_committed(
        run_millrace, worker, log, models):
    serve = ["--data", log, "--models", models, "-s", "executor.threads=1",
             "-s", "models.heavy.max_rows=8"]

    def light():
        return [one for one in results(run_millrace, log) if one["tenant_id"] == "light"]

    with worker(*serve) as running:
        wait_until(lambda: len(light()) == LIGHT, every=0.01, what="the light tenant's results")
        assert pending(run_millrace, log) > NOISE // 3, "they waited for the noise"
        running.kill()
    status, report = verify(run_millrace, log)
    assert status == 0 and report["results"] < NOISE, report
    with worker(*serve) as running:
        wait_until(lambda: pending(run_millrace, log) == 0)
        assert running.stop() == 0
    status, report = verify(run_millrace, log)
    assert status == 0 and report["results"] == NOISE + LIGHT, report
