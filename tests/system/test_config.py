"""`millrace config`: what is checked, shown and documented."""

import json
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
REFERENCE = ROOT / "docs" / "reference" / "settings.md"


@pytest.fixture
def settings(tmp_path):
    def write(text, name="settings.yaml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def test_reference_in_docs_is_what_the_binary_prints(run_millrace):
    printed = run_millrace(["config", "reference"]).stdout
    assert REFERENCE.read_text() == printed, (
        "make it anew: build/millrace config reference > docs/reference/settings.md")


def test_check_says_valid_and_what_was_given(run_millrace, settings):
    path = settings("batch:\n  max_rows: 128\n")
    done = run_millrace(["config", "check", "-c", path, "--group", "scoring"])
    assert done.stdout.startswith("configuration is valid")
    assert f"batch.max_rows = 128  ({path}:2)" in done.stdout
    assert "kafka.group = scoring  (--group)" in done.stdout


def test_check_lists_every_error_and_exits_3(run_millrace, settings):
    path = settings("batch:\n  max_row: 1\n  max_wait: soon\n")
    done = run_millrace(["config", "check", "-c", path, "-s", "batch.max_rows=0"], check=False)
    assert done.returncode == 3
    assert done.stdout == ""
    assert f"{path}:2: batch.max_row: unknown setting" in done.stderr
    assert "did you mean 'batch.max_rows'?" in done.stderr
    assert f"{path}:3: batch.max_wait: expected a duration such as 50ms" in done.stderr
    assert "-s: batch.max_rows: must be between 1 and 4096, got '0'" in done.stderr


def test_check_answers_in_json(run_millrace, settings):
    path = settings("delivery: {mode: at-most-twice}\n")
    done = run_millrace(["config", "check", "-c", path, "-o", "json"], check=False)
    assert done.returncode == 3
    answer = json.loads(done.stdout)
    assert answer["ok"] is False
    assert answer["warnings"] == []
    assert len(answer["errors"]) == 1
    assert "expected one of exactly-once, at-least-once, at-most-once" in answer["errors"][0]


def test_other_commands_refuse_wrong_settings_with_3(run_millrace):
    done = run_millrace(["topics", "describe", "-s", "batch.max_rows=0"], check=False)
    assert done.returncode == 3
    assert "must be between 1 and 4096" in done.stderr


def test_precedence_is_default_file_environment_flag(run_millrace, settings):
    first = settings("batch: {max_rows: 10, max_wait: 1s}\n", "a.yaml")
    second = settings("batch: {max_rows: 20}\n", "b.yaml")

    def dump(*args, env=None):
        done = run_millrace(["config", "dump", "-o", "json", "--origin", *args], env=env)
        return json.loads(done.stdout)

    assert dump()["batch.max_rows"] == {"value": 64, "origin": "default"}
    files = ["-c", first, "-c", second]
    assert dump(*files)["batch.max_rows"] == {"value": 20, "origin": f"{second}:1"}
    assert dump(*files)["batch.max_wait"] == {"value": "1s", "origin": f"{first}:1"}
    env = {"MILLRACE_BATCH_MAX_ROWS": "30"}
    assert dump(*files, env=env)["batch.max_rows"] == {
        "value": 30, "origin": "MILLRACE_BATCH_MAX_ROWS"}
    assert dump(*files, "-s", "batch.max_rows=40", env=env)["batch.max_rows"] == {
        "value": 40, "origin": "-s"}


def test_dump_can_be_loaded_again(run_millrace, settings):
    first = run_millrace(["config", "dump", "-s", "models.my.model.max_rows=7",
                          "-s", "topics.requests=a ${b} $ 'c'"]).stdout
    path = settings(first)
    assert run_millrace(["config", "dump", "-c", path]).stdout == first


def test_dump_masks_secrets(run_millrace):
    done = run_millrace(["config", "dump", "-X", "sasl.password=hunter2"])
    assert "hunter2" not in done.stdout
    assert 'sasl.password: "***"' in done.stdout


def test_data_implies_the_local_log_unless_told_otherwise(run_millrace):
    def transport(*args):
        return json.loads(run_millrace(["config", "dump", "-o", "json", *args]).stdout)["transport"]

    assert transport() == "kafka"
    assert transport("--data", "x") == "local"
    assert transport("--data", "x", "--transport", "kafka") == "kafka"
    assert transport("--data", "x", "-s", "transport=kafka") == "kafka"


def test_unknown_variable_is_a_warning(run_millrace):
    done = run_millrace(["config", "check"], env={"MILLRACE_BATCH_MAX_ROW": "1"})
    assert "did you mean 'MILLRACE_BATCH_MAX_ROWS'?" in done.stderr


def resolve(schema, root):
    return root["$defs"][schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema


def accepts(schema, value, root):
    """Whether the part of JSON Schema that the settings use admits `value`."""
    schema = resolve(schema, root)
    if "anyOf" in schema:
        return any(accepts(one, value, root) for one in schema["anyOf"])
    if "enum" in schema:
        return value in schema["enum"]
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    python = {"object": dict, "string": str, "boolean": bool, "integer": int,
              "number": (int, float), "null": type(None)}
    if not any(isinstance(value, python[kind]) and
               (kind == "boolean" or not isinstance(value, bool)) for kind in kinds):
        return False
    if isinstance(value, dict):
        known, others = schema["properties"], schema["additionalProperties"]
        return all(accepts(known[k], v, root) if k in known
                   else others is not False and accepts(others, v, root)
                   for k, v in value.items())
    if isinstance(value, str) and "pattern" in schema:
        return re.search(schema["pattern"], value) is not None
    if "minimum" in schema:
        return schema["minimum"] <= value <= schema["maximum"]
    return True


@pytest.mark.parametrize("value, good", [
    ({}, True),
    ({"batch": {"max_rows": 128, "max_wait": "50ms", "adaptive": False}}, True),
    ({"batch": {"max_rows": "${ROWS}"}}, True),
    ({"batch": None}, True),
    ({"models": {"churn": {"max_rows": 8}}}, True),
    ({"kafka": {"properties": {"linger.ms": 5}}}, True),
    ({"delivery": {"max_unit_bytes": "16MiB"}}, True),
    ({"batch": {"max_rows": 5000}}, False),
    ({"batch": {"max_row": 5}}, False),
    ({"batch": {"max_wait": "soon"}}, False),
    ({"models": {"churn": {"max_row": 8}}}, False),
    ({"transport": "pigeon"}, False),
])
def test_schema_admits_what_the_loader_admits(run_millrace, settings, value, good):
    schema = json.loads(run_millrace(["config", "schema"]).stdout)
    assert schema["$schema"].endswith("2020-12/schema")
    assert accepts(schema, value, schema) is good
    done = run_millrace(["config", "check", "-c", settings(json.dumps(value))],
                        env={"ROWS": "5"}, check=False)
    assert (done.returncode == 0) is good, done.stderr
