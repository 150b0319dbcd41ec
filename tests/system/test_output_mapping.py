"""Named fields made of a model's outputs, through the whole pipeline, as ONNX Runtime has them."""

import json
import pathlib
import re

import numpy as np
import onnx
import onnxruntime
import pytest
from helpers import dead_letters, lines, outcomes, results, verify
from model_zoo import (COLORS, boosted_regressor, converted, floats, logistic_words, sentence,
                       sentence_row, training_rows)
from sklearn.ensemble import RandomForestClassifier
from waiting import wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]
ROWS = 40
SEED = 20261122


def fraud():
    """Two classes, 0 and 1; the outputs are `label` and `probabilities`."""
    trained = RandomForestClassifier(25, random_state=SEED).fit(*training_rows(4))
    return converted(trained, floats(4), options={"zipmap": False})


def documented(kind):
    """The code blocks of this kind in the section of docs/models.md."""
    page = (ROOT / "docs" / "models.md").read_text()
    section = page.split("## Named fields", 1)[1].split("\n## ", 1)[0]
    return re.findall(rf"```{kind}\n(.*?)```", section, re.DOTALL)


def repository(folder, models, manifests=None):
    for name, made in models.items():
        path = folder / name / "1" / "model.onnx"
        path.parent.mkdir(parents=True)
        onnx.save(made, path)
        if name in (manifests or {}):
            path.with_name("model.yaml").write_text(manifests[name])
    return folder


def python_outputs(folder, name, rows):
    """{output: array} of all rows at once."""
    session = onnxruntime.InferenceSession(str(folder / name / "1" / "model.onnx"),
                                           providers=["CPUExecutionProvider"])
    found = session.run(None, {"features": np.array(rows, np.float32)})
    return dict(zip([o.name for o in session.get_outputs()], found))


def answers(run_millrace, worker, data, models, bodies, *flags, env=None):
    """{request id: result}, after every request has its outcome."""
    run_millrace(["topics", "create", "--data", data, "--partitions-scale", "0.02"])
    run_millrace(["send", "--data", data], input=lines(bodies))
    with worker("--data", data, "--models", models, *flags, env=env) as running:
        wait_until(lambda: outcomes(running) == len(bodies))
        assert running.stop() == 0
    assert verify(run_millrace, data)[0] == 0
    return {one["request_id"]: one for one in results(run_millrace, data)}


def requests(name, rows):
    return [{"request_id": f"{name}|{i}", "tenant_id": "t", "model_id": name, "input": row}
            for i, row in enumerate(rows)]


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(SEED).normal(size=(ROWS, 4)).round(3).tolist()


def test_the_documented_model_answers_as_the_page_says(run_millrace, worker, local_dir, rows):
    (manifest,) = documented("yaml")
    (result,) = [json.loads(text) for text in documented("json")]
    models = repository(local_dir / "models", {"fraud": fraud()}, {"fraud": manifest})
    threshold = float(re.search(r"threshold: ([\d.]+)", manifest).group(1))
    found = answers(run_millrace, worker, local_dir / "log", models, requests("fraud", rows))
    probabilities = python_outputs(models, "fraud", rows)["probabilities"]
    flags = set()
    for i in range(ROWS):
        outputs = found[f"fraud|{i}"]["outputs"]
        assert list(outputs) == list(result["outputs"])
        assert outputs["fraud_probability"] == pytest.approx(probabilities[i][1], rel=1e-6)
        assert outputs["is_fraud"] == bool(probabilities[i][1] >= np.float32(threshold))
        assert outputs["label"] == ("fraud" if outputs["is_fraud"] else "legit")
        flags.add(outputs["is_fraud"])
    assert flags == {True, False}, "both classes were seen"
    shown = result["outputs"]
    assert shown["is_fraud"] == (shown["fraud_probability"] >= threshold)
    assert shown["label"] == "fraud"


def test_every_source_of_a_mapping(run_millrace, worker, local_dir, rows):
    """A flag, a settings file with a mapping, an environment variable over a model.yaml."""
    models = repository(
        local_dir / "models",
        {"colors": logistic_words(), "fraud": fraud(), "price": boosted_regressor()},
        {"fraud": "labels: [legit, fraud]\nthreshold: 0.5\n"
                  "outputs: {is_fraud: 'probabilities[1] >= threshold', gone: label}\n"})
    settings = local_dir / "settings.yaml"
    settings.write_text(
        "models:\n"
        "  colors:\n"
        "    outputs:\n"
        "      word: label(output_label)\n"
        "      at: argmax(output_probability)\n"
        "      \"best two\": top(output_probability, 2)\n"
        "      red: output_probability[red]\n"
        "      sure: max(output_probability) > 0.6\n")
    wide = np.random.default_rng(SEED).normal(size=(ROWS, 5)).round(3).tolist()
    found = answers(
        run_millrace, worker, local_dir / "log", models,
        requests("colors", rows) + requests("fraud", rows) + requests("price", wide),
        "-c", settings, "-s", "models.price.outputs=price=variable[0], all=variable",
        "-s", "models.fraud.threshold=0.25",
        env={"MILLRACE_MODELS_FRAUD_OUTPUTS": "risk = probabilities[1] >= threshold\n"
                                              "class = label(label)"})
    colors = python_outputs(models, "colors", rows)
    fraud_outputs = python_outputs(models, "fraud", rows)
    prices = python_outputs(models, "price", wide)["variable"]
    names = sorted(COLORS)
    for i in range(ROWS):
        got = found[f"colors|{i}"]["outputs"]
        scores = [colors["output_probability"][i][name] for name in names]
        order = np.argsort(scores)[::-1]
        assert list(got) == ["word", "at", "best two", "red", "sure"]
        assert got["word"] == colors["output_label"][i]
        assert names[got["at"]] == got["word"]
        assert [one["label"] for one in got["best two"]] == [names[n] for n in order[:2]]
        assert [one["value"] for one in got["best two"]] == pytest.approx(
            [scores[n] for n in order[:2]], rel=1e-6)
        assert got["red"] == pytest.approx(scores[names.index("red")], rel=1e-6)
        assert got["sure"] == bool(max(scores) > np.float32(0.6))
        risk = bool(fraud_outputs["probabilities"][i][1] >= 0.25)
        assert found[f"fraud|{i}"]["outputs"] == {
            "risk": risk, "class": ["legit", "fraud"][fraud_outputs["label"][i]]}
        assert found[f"price|{i}"]["outputs"]["price"] == pytest.approx(float(prices[i][0]),
                                                                        rel=1e-6)
        assert found[f"price|{i}"]["outputs"]["all"] == [found[f"price|{i}"]["outputs"]["price"]]


def test_a_request_whose_output_is_too_small_fails_alone(run_millrace, worker, local_dir):
    """`found` is as long as the sentence: element 14 is the last one of the third word."""
    models = repository(local_dir / "models", {"sentence": sentence()})
    random = np.random.default_rng(SEED)
    bodies = [{"request_id": f"s|{i}", "tenant_id": "t", "model_id": "sentence",
               "inputs": sentence_row(random)} for i in range(ROWS)]
    data = local_dir / "log"
    found = answers(run_millrace, worker, data, models, bodies,
                    "-s", "models.sentence.outputs=third=found[14], sure=mean[0] > 0")
    long = {one["request_id"] for one in bodies if len(one["inputs"]["input_ids"]) >= 3}
    assert 0 < len(long) < ROWS
    assert set(found) == long
    dead = dead_letters(run_millrace, data)
    assert len(dead) == ROWS - len(long)
    assert {one["reason"] for one in dead} == {"inference_error"}
    assert all("field 'third' (found[14]) needs at least 15 elements" in one["detail"]
               for one in dead)


def test_models_show_prints_the_fields(run_millrace, local_dir):
    (manifest,) = documented("yaml")
    models = repository(local_dir / "models", {"fraud": fraud()}, {"fraud": manifest})
    done = run_millrace(["models", "show", "fraud", "--models", models])
    assert "Its results hold (threshold 0.7):" in done.stdout
    assert re.search(r"field +is_fraud +BOOL +probabilities\[fraud\] >= threshold", done.stdout)
    told = json.loads(run_millrace(["models", "show", "fraud", "--models", models, "-o", "json",
                                    "-s", "models.fraud.threshold=0.2"]).stdout)
    assert told["threshold"] == 0.2
    assert told["fields"][0] == {"name": "fraud_probability", "type": "FP32",
                                 "from": "probabilities[fraud]"}


WRONG = {
    "risk = probabilites[1]": "models.fraud.outputs: field 'risk' (probabilites[1]): the model has "
                              "no output 'probabilites'; did you mean 'probabilities'?",
    "risk = probabilities[2]": "has 2 elements in a row, the last one is probabilities[1]",
    "risk = probabilities[fruad]": "has no label 'fruad'; did you mean 'fraud'?; it has legit, ",
}
UNREADABLE = {
    "risk = probabilities[1] >=": "field 'risk': expected a number or the word threshold",
    "risk": "-s: models.fraud.outputs: field 'risk': expected '=' behind its name, got its end",
}


@pytest.mark.parametrize("mapping", WRONG)
def test_a_wrong_mapping_is_told_at_once(run_millrace, local_dir, mapping):
    models = repository(local_dir / "models", {"fraud": fraud()},
                        {"fraud": "labels: [legit, fraud]\n"})
    setting = ["-s", f"models.fraud.outputs={mapping}", "--models", models]
    done = run_millrace(["models", "show", "fraud", *setting], check=False)
    assert done.returncode == 3 and WRONG[mapping] in done.stderr, done.stderr
    listed = run_millrace(["models", "list", "--check", "-o", "json", *setting], check=False)
    assert WRONG[mapping] in json.loads(listed.stdout)["models"][0]["check"]
    run_millrace(["topics", "create", "--data", local_dir / "log", "--partitions-scale", "0.02"])
    served = run_millrace(["serve", "--data", local_dir / "log", "-s", "http.admin_listen=",
                           *setting], check=False)
    assert served.returncode == 3 and WRONG[mapping] in served.stderr, served.stderr


@pytest.mark.parametrize("mapping", UNREADABLE)
def test_what_cannot_be_read_is_a_wrong_setting(run_millrace, mapping):
    done = run_millrace(["config", "check", "-s", f"models.fraud.outputs={mapping}"], check=False)
    assert done.returncode == 3 and UNREADABLE[mapping] in done.stderr, done.stderr


def test_a_settings_file_names_the_line_of_the_mapping(run_millrace, tmp_path):
    settings = tmp_path / "settings.yaml"
    settings.write_text("models:\n  fraud:\n    outputs:\n      risk: mean(p)\n")
    done = run_millrace(["config", "check", "-c", settings], check=False)
    assert done.returncode == 3
    assert (f"{settings}:3: models.fraud.outputs: field 'risk': there is no function 'mean'"
            in done.stderr)


def test_a_wrong_model_yaml_names_itself(run_millrace, local_dir):
    models = repository(local_dir / "models", {"fraud": fraud()},
                        {"fraud": "outputs: {risk: 'probabilities[3]'}\n"})
    done = run_millrace(["models", "show", "fraud", "--models", models], check=False)
    assert done.returncode == 3
    assert "outputs in the model.yaml of fraud:1: field 'risk' (probabilities[3])" in done.stderr
