"""The rules of the house, each a function of a tree's root that returns its violations.

A violation is a text that starts with the path, as compilers print it. The arrows and the homes of
the third-party libraries are read from the table in src/README.md, so that there is one place to
change.
"""

import ast
import dataclasses
import os
import pathlib
import re
import subprocess

from cpp_text import code_only, functions, includes

MAX_FILE_LINES = 600
MAX_FUNCTION_LINES = 70
MAX_COLUMNS = 100
# The allowlist may only shrink: lower this with it.
MAX_ALLOWLIST_ENTRIES = 0

CPP = (".h", ".cc")
COLUMN_CHECKED = (*CPP, ".py", ".sh", ".cmake", "CMakeLists.txt")
TABLE = "src/README.md"
ALLOWLIST = "tests/house/allowlist.txt"

# Library: its headers, and the words by which a row of the table claims it. The last column holds
# for a table that claims it nowhere.
LIBRARIES = {
    "simdjson": (r"simdjson", ("simdjson",), set()),
    "SQLite": (r"sqlite3", ("sqlite",), set()),
    "librdkafka": (r"librdkafka/", ("librdkafka",), set()),
    "ONNX Runtime": (r"(core/.*)?onnxruntime", ("onnxruntime", "onnx runtime"), set()),
    "yaml-cpp": (r"yaml-cpp/", ("yaml",), set()),
    "CLI11": (r"CLI/", ("cli parser", "cli11"), set()),
    "Boost": (r"boost/", ("http server", "boost"), set()),
    "libcurl": (r"curl/", ("curl", "s3 client"), set()),
    "OpenSSL": (r"openssl/", ("openssl",), {"models", "gateway"}),
    "spdlog": (r"spdlog/", ("spdlog",), {"telemetry"}),
    "protobuf": (r"google/protobuf/", ("protobuf",), set()),
    "hiredis": (r"hiredis/", ("redis",), set()),
}

SYSTEM_HEADER = re.compile(
    r"[a-z_0-9]+$"  # the C++ library
    r"|(sys|netinet|arpa|net|linux)/[a-z_0-9/]+\.h$"
    r"|(cxxabi|dirent|dlfcn|elf|errno|execinfo|fcntl|getopt|grp|link|limits|netdb|poll|pthread|pwd"
    r"|sched|semaphore|signal|spawn|stdio|stdlib|string|termios|time|unistd|x86intrin"
    r"|immintrin)\.h$"
)

IMPURE = re.compile(
    r"_clock::now|clock_gettime|gettimeofday|\bClock\s*[&*]|(\.|->)Now\(\)"
    r"|std::(j?thread|async|(\w*_)?mutex|condition_variable|atomic|future|promise)\b|this_thread"
    r"|<(thread|mutex|shared_mutex|condition_variable|atomic|future|sys/socket\.h|pthread\.h)>"
    r"|::(socket|connect|bind|listen|accept|send|recv)\("
)

# In pieces, so that this file keeps its own rule.
UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|X" r"XX)\b")
REGISTRIES = re.compile(
    "|".join(
        re.escape(name + "." + domain)
        for name, domain in (
            ("registry.npmjs", "org"), ("pypi", "org"), ("files.pythonhosted", "org"),
            ("repo1.maven", "org"), ("repo.maven.apache", "org"), ("deb.debian", "org"),
            ("security.debian", "org"), ("crates", "io"), ("docker", "io"), ("ghcr", "io"),
            ("proxy.golang", "org"), ("nodesource", "com"), ("quay", "io"),
        )
    )
)
WORKPLACE = re.compile(r"(?<![\w.$}\-])(/wo" r"rk/|/ro" r"ot/|/tmp/br" r"ief)")


@dataclasses.dataclass
class Module:
    """A row of the table."""

    includes: set
    options_of_all: bool
    only_place_for: str
    later: bool


def parse_table(root):
    """{module: Module} from the first table of src/README.md that has a `may include` column."""
    modules = {}
    in_table = False
    for line in (pathlib.Path(root) / TABLE).read_text().splitlines():
        cells = [cell.strip().replace("`", "") for cell in line.strip().strip("|").split("|")]
        if not line.lstrip().startswith("|"):
            if in_table:
                break
            continue
        if "may include" in cells:
            in_table = True
            continue
        if not in_table or set(line) <= set("|-: "):
            continue
        name, may = cells[0], cells[1]
        only = cells[2] if len(cells) > 2 else ""
        later = "(later)" in name
        name = name.replace("(later)", "").strip().rstrip("/")
        if may.startswith("all above"):
            allowed = set(modules)
        elif may.startswith("everything"):
            allowed = None
        else:
            text = may.replace("each module's options.h", "")
            allowed = set(re.findall(r"[a-z][a-z_0-9]*", text))
        modules[name] = Module(allowed, "options.h" in may, only.lower(), later)
    for name, module in modules.items():
        if module.includes is None:
            module.includes = set(modules)
        module.includes.add(name)
    return modules


def tracked_files(root):
    """Paths, relative to root, of what is or would be committed."""
    root = pathlib.Path(root)
    if (root / ".git").exists():
        names = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=root,
            check=True, stdout=subprocess.PIPE).stdout
        found = [pathlib.Path(os.fsdecode(name)) for name in names.split(b"\0") if name]
    else:
        found = [path.relative_to(root) for path in root.rglob("*")]
    return sorted(path for path in found if (root / path).is_file())


def text_files(root):
    """(path, text) of every committed file that is text."""
    for path in tracked_files(root):
        data = (pathlib.Path(root) / path).read_bytes()
        if b"\0" not in data[:8192]:
            yield path, data.decode(errors="replace")


def source_files(root, *, tests=True):
    """(path, module, text) of every C++ file in src/."""
    for path, text in text_files(root):
        if path.suffix in CPP and path.parts[0] == "src" and len(path.parts) > 2:
            if tests or not path.stem.endswith(("_test", "_bench", "_fuzz")):
                yield path, path.parts[1], text


def is_public_header(path):
    return path.suffix == ".h" and len(path.parts) == 3 and not path.stem.endswith("_internal")


def matching_lines(pattern, path, text, message):
    for number, line in enumerate(text.splitlines(), 1):
        found = pattern.search(line)
        if found:
            yield f"{path}:{number}: {message}: {found.group().strip()}"


def folders_and_table_agree(root):
    table = parse_table(root)
    src = pathlib.Path(root) / "src"
    folders = {path.parts[1] for path in tracked_files(root)
               if path.parts[0] == "src" and len(path.parts) > 2}
    for name in sorted(folders - set(table)):
        yield f"src/{name}: not in the table of {TABLE}"
    for name, module in table.items():
        if module.later and name in folders:
            yield f"{TABLE}: {name} is there, and no longer (later)"
        if not module.later and name not in folders:
            yield f"{TABLE}: {name} is in the table, but {src.name}/{name} has no files"


def arrows_are_in_the_table(root):
    table = parse_table(root)
    for path, module, text in source_files(root):
        if module not in table:
            continue
        row = table[module]
        for number, name, quoted in includes(text):
            if not quoted or name.startswith("generated/"):
                continue
            target = name.split("/")[0]
            where = f"{path}:{number}:"
            if not (pathlib.Path(root) / "src" / name).is_file():
                yield f"{where} \"{name}\" is not a path from src/"
            elif target not in row.includes and not (
                    row.options_of_all and name == f"{target}/options.h"):
                yield f"{where} {module} may not include {name}"
            elif target != module and ("/internal/" in name or name.endswith("_internal.h")):
                yield f"{where} {name} is internal to {target}"


def libraries_stay_in_their_module(root):
    table = parse_table(root)
    for path, module, text in source_files(root):
        for number, name, _ in includes(text):
            for library, (headers, words, otherwise) in LIBRARIES.items():
                if not re.match(headers, name):
                    continue
                homes = {home for home, row in table.items()
                         if any(word in row.only_place_for for word in words)} or otherwise
                if module not in homes:
                    yield (f"{path}:{number}: {library} ({name}) belongs to "
                           f"{', '.join(sorted(homes)) or 'no module'}, not {module}")


def public_headers_have_no_third_party_header(root):
    for path, _, text in source_files(root):
        if is_public_header(path):
            for number, name, quoted in includes(text):
                if not quoted and not SYSTEM_HEADER.match(name):
                    yield f"{path}:{number}: third-party header <{name}> in a public header"


def headers_say_what_they_are(root):
    for path, _, text in source_files(root):
        if path.suffix == ".h":
            if not text.startswith("//"):
                yield f"{path}:1: a header opens with a comment: what it is, who owns what"
            if "\n#pragma once\n" not in text:
                yield f"{path}:1: no #pragma once"
            if "MILLRACE_TEST" "_POINTS" in text:
                yield f"{path}:1: a header may not depend on the test points: only a .cc may"


def only_pipeline_commits(root):
    pattern = re.compile(r"\b(UnitOfWork|CommitResult)\b"
                         r"|(?i:committer\w*(\(\))?)\s*(\.|->)\s*(Commit|Claim)\(")
    for path, module, text in source_files(root):
        if module not in ("pipeline", "transport"):
            yield from matching_lines(pattern, path, code_only(text), "only pipeline commits")


def pure_modules_stay_pure(root):
    for path, module, text in source_files(root, tests=False):
        if module == "scheduler" or (module == "pipeline" and path.stem == "offset_tracker"):
            yield from matching_lines(IMPURE, path, code_only(text, keep_includes=True),
                                      "a pure part touches a clock, a thread or a socket")


def files_are_short(root):
    for path, text in text_files(root):
        if path.suffix in (*CPP, ".py", ".sh"):
            lines = len(text.splitlines())
            if lines >= MAX_FILE_LINES:
                yield f"{path}: {lines} lines, the limit is under {MAX_FILE_LINES}"


def functions_are_short(root):
    for path, text in text_files(root):
        if path.suffix in CPP:
            found = functions(text)
        elif path.suffix == ".py":
            found = [(node.name, node.lineno, node.end_lineno) for node in ast.walk(ast.parse(text))
                     if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
        else:
            continue
        for name, first, last in found:
            if last - first + 1 >= MAX_FUNCTION_LINES:
                yield (f"{path}:{name}: {last - first + 1} lines from line {first}, "
                       f"the limit is under {MAX_FUNCTION_LINES}")


def lines_fit(root):
    for path, text in text_files(root):
        if path.name.endswith(COLUMN_CHECKED):
            for number, line in enumerate(text.splitlines(), 1):
                if len(line) > MAX_COLUMNS:
                    yield f"{path}:{number}: {len(line)} columns, the limit is {MAX_COLUMNS}"


def nothing_is_left_for_later(root):
    for path, text in text_files(root):
        yield from matching_lines(UNFINISHED, path, text, "unfinished")


def no_registry_is_named(root):
    for path, text in text_files(root):
        yield from matching_lines(REGISTRIES, path, text, "a package registry's host name")


def no_path_of_one_machine(root):
    for path, text in text_files(root):
        yield from matching_lines(WORKPLACE, path, text, "a path of one machine")


def names_of_test_files_are_unique(root):
    """pytest imports test files by their bare name; two of one name stop the whole collection."""
    first = {}
    for path, _ in text_files(root):
        if path.parts[0] == "tests" and path.match("test_*.py"):
            other = first.setdefault(path.name, path)
            if other != path:
                yield f"{path}: {other} has the same file name, pytest imports only one of them"


RULES = (
    folders_and_table_agree,
    arrows_are_in_the_table,
    libraries_stay_in_their_module,
    public_headers_have_no_third_party_header,
    headers_say_what_they_are,
    only_pipeline_commits,
    pure_modules_stay_pure,
    files_are_short,
    functions_are_short,
    lines_fit,
    nothing_is_left_for_later,
    no_registry_is_named,
    no_path_of_one_machine,
    names_of_test_files_are_unique,
)


def parse_allowlist(root):
    """{(rule, subject): reason}; a line is `rule subject: reason`, `#` starts a comment line."""
    entries = {}
    path = pathlib.Path(root) / ALLOWLIST
    for line in path.read_text().splitlines() if path.exists() else []:
        if line.strip() and not line.startswith("#"):
            head, _, reason = line.partition(": ")
            rule, _, subject = head.partition(" ")
            entries[rule, subject] = reason.strip()
    return entries


def check(root, rule):
    """What of `rule` is violated and not allowed, after the allowlist."""
    allowed = [subject for name, subject in parse_allowlist(root) if name == rule.__name__]
    return [text for text in rule(root)
            if not any(text.startswith(subject + ":") for subject in allowed)]


def check_allowlist(root):
    """Entries without a reason or a rule, those no longer needed, and growth."""
    entries = parse_allowlist(root)
    rules = {rule.__name__: rule for rule in RULES}
    for (name, subject), reason in entries.items():
        if not reason:
            yield f"{ALLOWLIST}: {name} {subject}: no reason given"
        if name not in rules:
            yield f"{ALLOWLIST}: {name}: no such rule"
        elif not any(text.startswith(subject + ":") for text in rules[name](root)):
            yield f"{ALLOWLIST}: {name} {subject}: no longer needed, take it out"
    if len(entries) > MAX_ALLOWLIST_ENTRIES:
        yield f"{ALLOWLIST}: {len(entries)} entries, may only shrink from {MAX_ALLOWLIST_ENTRIES}"
