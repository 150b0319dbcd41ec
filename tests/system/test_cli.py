"""The command line itself: help, versions, mistakes, completion."""

import re
import subprocess

import pytest

COMMANDS = ["serve", "demo", "send", "topics create", "topics describe", "results", "dlq list",
            "dlq show", "dlq stats", "dlq replay", "dlq park", "models list", "models show",
            "models fetch",
            "verify", "bench", "config check", "config dump", "config schema", "config reference",
            "completion bash", "completion zsh", "completion fish"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command_says_what_and_shows_an_example(run_millrace, command):
    done = run_millrace([*command.split(), "--help"])
    assert f"Usage: millrace {command}" in done.stdout
    assert "Examples:\n" in done.stdout
    assert f"millrace {command}" in done.stdout.split("Examples:\n")[1]
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert run_millrace(["help", *command.split()]).stdout == done.stdout


def test_help_lists_every_command(run_millrace):
    done = run_millrace(["--help"])
    for command in COMMANDS:
        assert re.search(rf"^  {command.split()[0]} ", done.stdout, re.MULTILINE), command


def test_version_names_what_the_binary_is_made_of(run_millrace):
    text = run_millrace(["--version"]).stdout
    assert re.match(r"millrace \d+\.\d+\.\d+ \([0-9a-f]{7,}|unknown", text)
    assert re.search(r"ONNX Runtime \d+\.\d+ or newer \(C API \d+\)", text)
    assert re.search(r"librdkafka \d+\.\d+\.\d+", text)


@pytest.mark.parametrize("args, message", [
    (["sevre"], "unknown command 'sevre'; did you mean 'serve'?"),
    (["config", "chek"], "unknown command 'chek'; did you mean 'check'?"),
    (["serve", "--brokrs", "x"], "unknown flag '--brokrs'; did you mean '--brokers'?"),
    (["serve", "--transport", "pigeon"], "--transport"),
    (["serve", "-o", "xml"], "--output"),
    (["serve", "-s", "batch.max_rows"], "-s: expected name=value, got 'batch.max_rows'"),
    (["serve", "-X", "linger"], "-X: expected name=value, got 'linger'"),
    (["config", "schema", "extra"], "unexpected argument 'extra'"),
    (["config"], "Usage: millrace config COMMAND"),
    ([], "Usage: millrace COMMAND"),
])
def test_usage_errors_exit_2_and_say_what_to_do(run_millrace, args, message):
    done = run_millrace(args, check=False)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("command", ["topics describe", "send", "verify"])
def test_a_cluster_that_does_not_answer_is_exit_4_and_named(run_millrace, command):
    done = run_millrace([*command.split(), "-b", "127.0.0.1:1"], input="", check=False)
    assert done.returncode == 4
    assert f"millrace {command}: no broker of 127.0.0.1:1 answered" in done.stderr


def test_full_stdout_is_an_error(millrace):
    with open("/dev/full", "w") as full:
        done = subprocess.run([millrace, "config", "reference"], stdout=full,
                              stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert "cannot write to stdout" in done.stderr


def complete(millrace, line, cwd=None):
    """What bash offers for the last word of `line`."""
    words = line.split(" ")
    script = (f'source <("$0" completion bash); COMP_WORDS=({" ".join(repr(w) for w in words)}); '
              f'COMP_CWORD={len(words) - 1}; _millrace 2>/dev/null; '
              'printf "%s\\n" "${COMPREPLY[@]}"')
    done = subprocess.run(["bash", "-c", script, str(millrace)], stdout=subprocess.PIPE, text=True,
                          check=True, cwd=cwd)
    return done.stdout.split()


@pytest.mark.parametrize("line, offered", [
    ("millrace ser", ["serve"]),
    ("millrace config d", ["dump"]),
    ("millrace topics ", ["create", "describe"]),
    ("millrace serve -o ", ["table", "json"]),
    ("millrace serve --log-f", ["--log-format"]),
    ("millrace send --transport l", ["local"]),
    ("millrace send -g serve --out", ["--output"]),
    ("millrace completion ", ["bash", "zsh", "fish"]),
    ("millrace dlq ", ["list", "show", "stats", "replay", "park"]),
    ("millrace dlq replay --exec", ["--execute"]),
    ("millrace dlq replay --reason unk", ["unknown_model"]),
    ("millrace dlq park --min", ["--min-attempts"]),
])
def test_bash_completes_commands_flags_and_values(millrace, line, offered):
    assert complete(millrace, line) == offered


def test_bash_completes_files(millrace, tmp_path):
    (tmp_path / "settings.yaml").touch()
    (tmp_path / "log").mkdir()
    assert complete(millrace, "millrace serve -c s", tmp_path) == ["settings.yaml"]
    assert complete(millrace, "millrace serve --data ", tmp_path) == ["log"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_names_every_command(run_millrace, shell):
    script = run_millrace(["completion", shell]).stdout
    for command in COMMANDS:
        assert f"'{command}'" in script
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)
