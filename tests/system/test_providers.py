"""Where models run besides the CPU.

What needs a GPU is skipped where there is none. MILLRACE_ORT_LIBRARY has to name the
libonnxruntime.so of a build for GPUs, with the libraries of its providers beside it.
"""

import json
import os
import pathlib
import random
import shutil

import pytest
from helpers import LINEAR, MODELS, lines, outcomes, results
from waiting import wait_until

DEMO = pathlib.Path(__file__).resolve().parent.parent.parent / "examples" / "demo" / "models"
PROVIDERS = ["cuda", "tensorrt"]
ROWS = 200
TENSORRT_BUILD_SECONDS = 600


def provider_library(provider):
    """Of the ONNX Runtime under test; whether it is there."""
    named = os.environ.get("MILLRACE_ORT_LIBRARY", "")
    return named and pathlib.Path(named).with_name(f"libonnxruntime_providers_{provider}.so")


def has_gpu_build():
    return any(provider_library(p) and provider_library(p).exists() for p in PROVIDERS)


def need_gpu(provider):
    if not any(pathlib.Path("/dev").glob("nvidia[0-9]*")):
        pytest.skip("there is no NVIDIA GPU on this machine (/dev/nvidia*)")
    library = provider_library(provider)
    if not library or not library.exists():
        pytest.skip(f"MILLRACE_ORT_LIBRARY does not name a build with {provider}")


def flat(nested):
    if isinstance(nested, dict):
        nested = list(nested.values())
    return [x for part in nested for x in flat(part)] if isinstance(nested, list) else [nested]


@pytest.fixture
def models(local_dir):
    shutil.copytree(MODELS / LINEAR, local_dir / "models" / LINEAR)
    return local_dir / "models"


@pytest.mark.skipif(has_gpu_build(), reason="this ONNX Runtime is a build for GPUs")
@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_provider_that_the_build_lacks_ends_the_start_with_what_there_is(
        run_millrace, local_dir, models, provider):
    done = run_millrace(["serve", "--data", local_dir / "log", "--models", models,
                         "-s", f"models.{LINEAR}.provider={provider}"], check=False)
    assert done.returncode == 3, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert f"model {LINEAR}:" in last and "CPUExecutionProvider" in last, last
    assert "runtime.ort_library" in last and f"cpu instead of {provider}" in last, last


def test_full_offload_without_a_provider_is_a_wrong_setting(run_millrace, local_dir, models):
    done = run_millrace(["serve", "--data", local_dir / "log", "--models", models,
                         "-s", f"models.{LINEAR}.require_full_offload=true"], check=False)
    assert done.returncode == 3 and "set provider to cuda or tensorrt" in done.stderr, done.stderr


def test_a_provider_that_is_none_is_refused_with_those_there_are(run_millrace):
    done = run_millrace(["config", "check", "-s", "models.x.provider=rocm"], check=False)
    assert done.returncode == 3 and "tensorrt" in done.stderr, done.stderr


def test_check_tells_before_anything_is_deployed(run_millrace, models):
    if has_gpu_build():
        pytest.skip("this ONNX Runtime is a build for GPUs")
    done = run_millrace(["models", "list", "--models", models, "--check", "-o", "json",
                         "-s", f"models.{LINEAR}.provider=cuda"], check=False)
    checks = [entry["check"] for entry in json.loads(done.stdout)["models"]]
    assert done.returncode != 0 and all("CUDAExecutionProvider" in one for one in checks), checks


@pytest.mark.parametrize("provider", PROVIDERS)
def test_answers_are_those_of_the_cpu(run_millrace, worker, local_dir, provider):
    need_gpu(provider)
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    draw = random.Random(seed)
    names = {}
    for source, width in (("digits-mlp", 64), ("cancer-mlp", 30)):
        for where in ("cpu", provider):
            shutil.copytree(DEMO / source, local_dir / "models" / f"{source}-{where}")
        names[source] = width
    data = local_dir / "log"
    bodies = []
    for source, width in names.items():
        for number in range(ROWS):
            row = [round(draw.uniform(0, 16), 3) for _ in range(width)]
            bodies += [{"request_id": f"{source}|{number}|{where}", "tenant_id": "t",
                        "model_id": f"{source}-{where}", "input": row}
                       for where in ("cpu", provider)]
    run_millrace(["topics", "create", "--data", data, "--partitions-scale", "0.05"])
    run_millrace(["send", "--data", data], input=lines(bodies))
    settings = [word for source in names for word in
                ("-s", f"models.{source}-{provider}.provider={provider}",
                 "-s", f"models.{source}-{provider}.require_full_offload=true")]
    with worker("--data", data, "--models", local_dir / "models", *settings,
                ready_timeout=TENSORRT_BUILD_SECONDS) as running:
        wait_until(lambda: outcomes(running) == len(bodies))
        assert running.stop() == 0
    answers = {one["request_id"]: one for one in results(run_millrace, data)}
    for source in names:
        for number in range(ROWS):
            cpu, gpu = (answers[f"{source}|{number}|{where}"] for where in ("cpu", provider))
            numbers = [flat(one.get("output", one.get("outputs"))) for one in (cpu, gpu)]
            assert len(numbers[0]) == len(numbers[1]) > 0, (cpu, gpu)
            assert numbers[1] == pytest.approx(numbers[0], rel=1e-3, abs=1e-3), (seed, number)
