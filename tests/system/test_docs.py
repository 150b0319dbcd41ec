"""The commands and files that the pages name exist."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *ROOT.glob("bench/*.md"),
                *ROOT.glob("examples/**/*.md"), ROOT / "src" / "README.md"])
SUBCOMMANDS = {"topics", "dlq", "models", "config", "completion"}


def commands_of(page):
    """The commands in backquotes and code blocks of a page, each as a list of words."""
    text = page.read_text()
    pieces = re.findall(r"```[a-z]*\n(.*?)```", text, re.DOTALL) + re.findall(r"`([^`\n]+)`", text)
    for piece in pieces:
        for line in piece.splitlines():
            found = re.search(r"(?:^|[\s|])(?:build/)?millrace ([a-z][^|#&>]*)", " " + line)
            if found:
                yield found.group(1).split()


@pytest.mark.parametrize("page", PAGES, ids=[str(p.relative_to(ROOT)) for p in PAGES])
def test_commands_of_the_page_exist(page, run_millrace):
    for words in commands_of(page):
        names = words[:2] if words[0] in SUBCOMMANDS and len(words) > 1 else words[:1]
        for name in re.split(r"[|,]", names[-1]):
            command = [*names[:-1], name] if len(names) > 1 else [name]
            done = run_millrace([*command, "--help"], check=False)
            assert done.returncode == 0, f"{page.name} names `millrace {' '.join(words)}`"
            for flag in re.findall(r"(?<![\w-])(--[a-z][a-z-]+|-[a-zA-Z])(?![\w-])",
                                   " ".join(words)):
                assert flag in done.stdout, f"{page.name}: {' '.join(command)} has no {flag}"


@pytest.mark.parametrize("page", PAGES, ids=[str(p.relative_to(ROOT)) for p in PAGES])
def test_files_the_page_links_to_exist(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
