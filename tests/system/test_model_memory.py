"""What models hold of memory: flat however their batches vary, given back when they stand idle."""

import random
import shutil
import time

from helpers import LINEAR, MODELS, dead_letters, lines, outcomes, request, results, verify
from test_memory import resident_mib
from waiting import wait_until

OUTER = "outer"  # The square of the sum of a row, by way of every product of two of its numbers.


def ones(number, length):
    return request(number, model=OUTER, input=[1] * length)


def repository(folder):
    for model in (LINEAR, OUTER):
        shutil.copytree(MODELS / model, folder / model)
    return folder


def runs(running):
    return sum(value for name, value in running.metrics().items()
               if name.startswith("millrace_model_runs_total"))


def test_ten_thousand_runs_of_random_sizes_leave_memory_flat(run_millrace, worker, local_dir):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    draw = random.Random(seed)
    data = local_dir / "log"
    run_millrace(["topics", "create", "--data", data, "--partitions-scale", "0.05"])
    resident, sent = [], 0
    with worker("--data", data, "--models", repository(local_dir / "models"),
                "-s", f"models.{OUTER}.max_rows=256") as running:
        while runs(running) < 10_000:
            # Rows of some forty lengths: each batch of `outer` runs in as many pieces, of whatever
            # sizes chance gives; batches of `linear` are as large as what has come meanwhile.
            count = draw.randrange(200, 2_000)
            bodies = [ones(sent + i, draw.randrange(1, 40)) if draw.random() < 0.5
                      else request(sent + i) for i in range(count)]
            run_millrace(["send", "--data", data], input=lines(bodies))
            sent += count
            wait_until(lambda: outcomes(running) == sent)
            resident.append((runs(running), resident_mib(running.pid)))
        middle = next(mib for done, mib in resident if done >= 5_000)
        assert resident[-1][1] < middle + 20, f"seed {seed}: {resident}"
        assert running.stop() == 0
    status, report = verify(run_millrace, data)
    assert status == 0 and report["results"] == sent, report


def test_what_a_large_batch_needed_is_given_back_when_the_model_is_idle(
        run_millrace, worker, local_dir):
    data = local_dir / "log"
    run_millrace(["topics", "create", "--data", data, "--partitions-scale", "0.05"])
    with worker("--data", data, "--models", repository(local_dir / "models"),
                "-s", f"models.{OUTER}.max_rows=8", "-s", "executor.threads=1",
                "-s", "runtime.idle_shrink=1s") as running:
        run_millrace(["send", "--data", data], input=lines(ones(n, 10) for n in range(8)))
        wait_until(lambda: outcomes(running) == 8)
        before = resident_mib(running.pid)
        run_millrace(["send", "--data", data], input=lines(ones(100 + n, 2500) for n in range(8)))
        most = 0
        while outcomes(running) < 16:
            most = max(most, resident_mib(running.pid))
            time.sleep(0.002)
        most = max(most, resident_mib(running.pid))
        assert most > before + 100, f"{before:.0f} MiB became {most:.0f}: nothing large was run"
        wait_until(lambda: resident_mib(running.pid) < before + 30,
                   what=f"{most:.0f} MiB going back to {before:.0f}")
        run_millrace(["send", "--data", data], input=lines(ones(200 + n, 10) for n in range(8)))
        wait_until(lambda: outcomes(running) == 24)
        assert running.stop() == 0
    answers = {one["request_id"]: one["output"] for one in results(run_millrace, data)}
    assert answers["r-100"] == [2500.0 ** 2] and answers["r-200"] == [100.0]


def test_a_batch_of_large_rows_runs_in_pieces(run_millrace, worker, local_dir):
    shutil.copytree(MODELS / "words", local_dir / "models" / "words")
    data = local_dir / "log"
    run_millrace(["topics", "create", "--data", data, "--partitions-scale", "0.05"])
    limit = ["-s", "limits.max_request_bytes=4MiB"]
    # Rows of eight megabytes, two of which are the 16 MiB that a run may have.
    bodies = [request(n, tenant="t", model="words", input=[n] * 1_000_000) for n in range(4)]
    with worker("--data", data, "--models", local_dir / "models", *limit,
                "-s", "models.words.max_rows=4", "-s", "models.words.max_wait=30s",
                "-s", "batch.adaptive=false") as running:
        run_millrace(["send", "--data", data, *limit], input=lines(bodies))
        wait_until(lambda: outcomes(running) == 4)
        assert running.stop() == 0
    answers = results(run_millrace, data)
    assert [one["batch_size"] for one in answers] == [2] * 4, answers
    assert {tuple(one["output"]) for one in answers} == {(n, 10.0 * n) for n in range(4)}


def test_a_row_that_can_never_fit_is_a_dead_letter_and_pauses_nothing(
        run_millrace, worker, local_dir):
    data = local_dir / "log"
    run_millrace(["topics", "create", "--data", data, "--partitions-scale", "0.05"])
    limit = ["-s", "limits.max_request_bytes=4MiB"]
    with worker("--data", data, "--models", repository(local_dir / "models"), *limit) as running:
        # Each number with each: 4 TB.
        bodies = [ones(0, 1_000_000), *(ones(n, 3) for n in range(1, 20))]
        run_millrace(["send", "--data", data, *limit], input=lines(bodies))
        wait_until(lambda: outcomes(running) == len(bodies))
        assert "model_paused" not in running.log.read_text()
        assert running.stop() == 0
    (dead,) = dead_letters(run_millrace, data)
    assert dead["reason"] == "inference_error" and "bytes at once" in dead["detail"], dead
    assert len(results(run_millrace, data)) == len(bodies) - 1
