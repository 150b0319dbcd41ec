"""Rows of different lengths run together where the model has a mask, answered as if alone."""

import random
import shutil

import pytest
from helpers import MODELS, dead_letters, lines, outcomes, results, verify
from waiting import wait_until

MODEL = "masked_words"
COUNT = 2_000


def body(number, words, mask=None):
    return {"request_id": f"r-{number}", "tenant_id": "t", "model_id": MODEL,
            "inputs": {"words": words, "mask": mask or [1] * len(words)}}


def serve_all(run_millrace, worker, local_dir, bodies, *settings):
    """Answers the requests with one worker; {request id: output}, and how many runs it took."""
    shutil.copytree(MODELS / MODEL, local_dir / "models" / MODEL)
    data = local_dir / "log"
    run_millrace(["topics", "create", "--data", data, "--partitions-scale", "0.05"])
    run_millrace(["send", "--data", data], input=lines(bodies))
    with worker("--data", data, "--models", local_dir / "models", *settings) as running:
        wait_until(lambda: outcomes(running) == len(bodies))
        runs = sum(value for name, value in running.metrics().items()
                   if name.startswith("millrace_model_runs_total"))
        assert running.stop() == 0
    assert verify(run_millrace, data)[0] == 0
    return {one["request_id"]: one["output"] for one in results(run_millrace, data)}, runs, data


@pytest.mark.parametrize("mask", ["", "mask"])
def test_rows_of_any_length_are_answered_as_if_alone(run_millrace, worker, local_dir, mask):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    draw = random.Random(seed)
    bodies, expected = [], {}
    for number in range(COUNT):
        words = [draw.randrange(10) for _ in range(draw.randrange(1, 60))]
        counts = [1] + [draw.randrange(2) for _ in words[1:]]  # Padded by the sender, too.
        bodies.append(body(number, words, counts))
        mean = sum(w for w, c in zip(words, counts) if c) / sum(counts)
        expected[f"r-{number}"] = [mean, 10 * mean]
    answers, runs, _ = serve_all(run_millrace, worker, local_dir, bodies,
                                 "-s", f"models.{MODEL}.mask={mask}")
    assert set(answers) == set(expected)
    for key, output in answers.items():
        assert output == pytest.approx(expected[key], rel=1e-5), f"seed {seed}: {key}"
    # Batches of 64 rows have some 40 lengths; from 1 to 59 it doubles six times.
    assert runs < COUNT / 8 if mask else runs > COUNT / 4, f"seed {seed}: {runs} runs"


def test_a_mask_of_another_length_than_its_words_is_a_dead_letter(run_millrace, worker, local_dir):
    bodies = [body(1, [1, 2, 3]), body(2, [1, 2, 3], [1, 1])]
    answers, _, data = serve_all(run_millrace, worker, local_dir, bodies)
    assert answers == {"r-1": [2, 20]}
    (letter,) = dead_letters(run_millrace, data)
    assert letter["reason"] == "invalid_shape"
    assert "inputs.mask has 2 entries in dimension 1, expected 3" in letter["detail"]
