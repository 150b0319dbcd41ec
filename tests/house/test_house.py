"""The house rules hold in this tree, and the checker finds what it should in planted ones."""

import pathlib

import pytest

import house_rules as house
from cpp_text import code_only, functions

ROOT = pathlib.Path(__file__).resolve().parents[2]

README = """\
| module | may include | the only place for |
|---|---|---|
| base | – | |
| transport | base | librdkafka, SQLite (log) |
| scheduler | base | |
| pipeline | all above | |
| features (later) | base | Redis client |
| config | base, each module's options.h | YAML |
| app | everything | CLI parser |
"""
HEADER = "// What it is.\n#pragma once\n"
CLEAN = {
    "src/README.md": README,
    "src/base/status.h": HEADER + "#include <string>\n#include <sys/types.h>\n",
    "src/transport/options.h": HEADER,
    "src/transport/log.h": HEADER + '#include "base/status.h"\n',
    "src/transport/log_internal.h": HEADER + "#include <sqlite3.h>\n",
    "src/transport/log.cc": '#include "transport/log.h"\n#include "transport/log_internal.h"\n',
    "src/scheduler/queue.cc": "// steady_clock::now() is never called here.\nint x = 1;\n",
    "src/pipeline/run.cc": 'void Run(Committer& c) {\n  c.Commit("std::mutex");\n}\n',
    "src/config/load.cc": '#include "transport/options.h"\n#include <yaml-cpp/yaml.h>\n',
    "src/app/main.cc": '#include "config/load.h"\n#include "generated/build_info.h"\n',
    "src/config/load.h": HEADER,
    "tests/unit/test_load.py": "def test_load():\n    assert load()\n",
}


def plant(root, **changes):
    for path, text in {**CLEAN, **changes}.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return root


def long_function(lines):
    return "int Long() {\n" + "  f();\n" * (lines - 2) + "}\n"


@pytest.mark.parametrize("rule", house.RULES, ids=lambda rule: rule.__name__)
def test_this_tree_keeps(rule):
    violations = house.check(ROOT, rule)
    assert not violations, "\n" + "\n".join(violations)


def test_every_exception_is_needed_and_explained():
    assert not list(house.check_allowlist(ROOT))


def test_this_tree_was_examined():
    assert len(list(house.source_files(ROOT))) > 20
    assert sum(len(functions(text)) for _, _, text in house.source_files(ROOT)) > 100
    assert {"base", "pipeline", "app"} <= set(house.parse_table(ROOT))


@pytest.mark.parametrize("rule", house.RULES, ids=lambda rule: rule.__name__)
def test_a_clean_tree_has_no_violation(rule, tmp_path):
    assert list(rule(plant(tmp_path))) == []


PLANTED = [
    (house.folders_and_table_agree, "src/extra/a.cc", "int x;\n", "src/extra: not in the table"),
    (house.folders_and_table_agree, "src/features/a.cc", "int x;\n", "no longer (later)"),
    (house.folders_and_table_agree, "src/README.md",
     README.replace("| pipeline", "| codec | base | |\n| pipeline"), "codec is in the table"),
    (house.arrows_are_in_the_table, "src/base/a.cc", '#include "transport/log.h"\n',
     "src/base/a.cc:1: base may not include transport/log.h"),
    (house.arrows_are_in_the_table, "src/pipeline/a.cc", '#include "config/load.h"\n',
     "pipeline may not include config/load.h"),
    (house.arrows_are_in_the_table, "src/config/a.cc", '#include "transport/log.h"\n',
     "config may not include transport/log.h"),
    (house.arrows_are_in_the_table, "src/pipeline/a_test.cc", '\n#include "app/x.h"\n',
     'src/pipeline/a_test.cc:2: "app/x.h" is not a path'),
    (house.arrows_are_in_the_table, "src/base/a.cc", '#include "status.h"\n', "is not a path"),
    (house.arrows_are_in_the_table, "src/app/a.cc", '#include "transport/log_internal.h"\n',
     "is internal to transport"),
    (house.libraries_stay_in_their_module, "src/app/a.cc", "#include <sqlite3.h>\n",
     "SQLite (sqlite3.h) belongs to transport, not app"),
    (house.libraries_stay_in_their_module, "src/scheduler/a.cc", "#include <yaml-cpp/yaml.h>\n",
     "belongs to config"),
    (house.libraries_stay_in_their_module, "src/base/a.cc", "#include <librdkafka/rdkafka.h>\n",
     "belongs to transport"),
    (house.libraries_stay_in_their_module, "src/base/a.cc", "#include <simdjson.h>\n",
     "belongs to no module"),
    (house.public_headers_have_no_third_party_header, "src/transport/pub.h",
     HEADER + "#include <sqlite3.h>\n", "src/transport/pub.h:3: third-party header <sqlite3.h>"),
    (house.public_headers_have_no_third_party_header, "src/base/pub.h",
     HEADER + "#include <fmt/format.h>\n", "third-party header <fmt/format.h>"),
    (house.headers_say_what_they_are, "src/base/a.h", "\n#pragma once\n", "opens with a comment"),
    (house.headers_say_what_they_are, "src/base/a.h", "// A.\nint x;\n", "no #pragma once"),
    (house.only_pipeline_commits, "src/app/a.cc", "void F() { committer->Commit(u); }\n",
     "src/app/a.cc:1: only pipeline commits"),
    (house.only_pipeline_commits, "src/app/a.cc", "void F() { committer_.Claim(p); }\n",
     "only pipeline commits"),
    (house.only_pipeline_commits, "src/app/a.cc", "UnitOfWork unit;\n", "commits: UnitOfWork"),
    (house.pure_modules_stay_pure, "src/scheduler/a.cc", "auto t = steady_clock::now();\n",
     "src/scheduler/a.cc:1:"),
    (house.pure_modules_stay_pure, "src/scheduler/a.cc", "#include <mutex>\n", "<mutex>"),
    (house.pure_modules_stay_pure, "src/pipeline/offset_tracker.h", "// T.\nstd::mutex m;\n",
     "src/pipeline/offset_tracker.h:2:"),
    (house.files_are_short, "src/base/a.cc", "int x;\n" * 600, "600 lines"),
    (house.functions_are_short, "src/base/a.cc", long_function(70), "src/base/a.cc:Long: 70 lines"),
    (house.functions_are_short, "tests/a.py", "def f():\n" + "    g()\n" * 69, "tests/a.py:f: 70"),
    (house.lines_fit, "src/base/a.cc", "int x;" + " " * 95 + "\n", "src/base/a.cc:1: 101 columns"),
    (house.nothing_is_left_for_later, "docs/a.md", "\n// TO" "DO: finish\n", "docs/a.md:2:"),
    (house.no_registry_is_named, "tools/a.sh", "curl https://py" "pi.org/x\n", "tools/a.sh:1:"),
    (house.no_path_of_one_machine, "docs/a.md", "see /wo" "rk/main\n", "docs/a.md:1:"),
    (house.names_of_test_files_are_unique, "tests/zeta/test_load.py", "",
     "tests/zeta/test_load.py: tests/unit/test_load.py has the same file name"),
]


@pytest.mark.parametrize(
    "rule, path, text, expected", PLANTED,
    ids=[f"{rule.__name__}-{number}" for number, (rule, *_) in enumerate(PLANTED)])
def test_a_planted_violation_is_found(rule, path, text, expected, tmp_path):
    found = list(rule(plant(tmp_path, **{path: text})))
    assert len(found) == 1, found
    assert expected in found[0]


def test_every_rule_has_a_planted_violation():
    assert {rule for rule, *_ in PLANTED} == set(house.RULES)


def test_just_below_the_limits_is_fine(tmp_path):
    root = plant(tmp_path, **{"src/base/a.cc": long_function(69), "src/base/b.cc": "int x;\n" * 599,
                              "src/base/c.cc": "int x;" + "/" * 94 + "\n"})
    for rule in (house.functions_are_short, house.files_are_short, house.lines_fit):
        assert list(rule(root)) == []


def test_the_allowlist_excuses_only_what_it_names(tmp_path, monkeypatch):
    monkeypatch.setattr(house, "MAX_ALLOWLIST_ENTRIES", 1)
    root = plant(tmp_path, **{
        "src/base/a.cc": long_function(80), "src/base/b.cc": long_function(80),
        house.ALLOWLIST: "functions_are_short src/base/a.cc:Long: a table\n"})
    assert [text.split(":")[0] for text in house.check(root, house.functions_are_short)] == [
        "src/base/b.cc"]
    assert list(house.check_allowlist(root)) == []


@pytest.mark.parametrize("entry, complaint", [
    ("functions_are_short src/base/gone.cc:Long: a table\n", "no longer needed"),
    ("functions_are_short src/base/a.cc:Long\n", "no reason given"),
    ("functions_are_tall src/base/a.cc: why\n", "no such rule"),
    ("functions_are_short src/base/a.cc:Long: a table\n", "may only shrink"),
])
def test_a_bad_allowlist_is_refused(entry, complaint, tmp_path):
    root = plant(tmp_path, **{"src/base/a.cc": long_function(80), house.ALLOWLIST: entry})
    assert any(complaint in text for text in house.check_allowlist(root))


SAMPLE = '''\
namespace millrace {
class Thing : public Base {
 public:
  explicit Thing(int a) : a_{a}, b_(Make("}")) {
    Use();
  }
  bool operator()(int x) const noexcept { return x > 0; }
  int value() const { return a_; }

 private:
  int a_{0};
};

template <class T, class = std::enable_if_t<(sizeof(T) > 1)>>
auto Apply(T&& t) -> decltype(t()) {
  auto inner = [&](int x) {
    if (x) { return '{'; }
    return R"({{{)"[0];
  };
  return inner(1);
}

const std::vector<int> kValues = {
    Make(1),
    Make(2),
};

TEST(ThingTest, KeepsItsPromise) {
  // }
  EXPECT_TRUE(true);
}
}  // namespace millrace
'''


def test_functions_are_found_with_their_extent():
    assert functions(SAMPLE) == [
        ("Thing", 4, 6), ("operator()", 7, 7), ("value", 8, 8), ("Apply", 14, 21),
        ("ThingTest.KeepsItsPromise", 28, 31)]


def test_comments_and_literals_are_not_code():
    code = code_only('a(); // b\n/* c\n d */ e("f\\"g");\n#define H \\\n  i\nj();\n')
    assert code.count("\n") == 6
    assert [word for word in "abcdefghij" if word in code] == ["a", "e", "j"]
