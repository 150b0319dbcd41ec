"""Just enough reading of clang-formatted C++ for the house rules."""

import re

_TOKENS = re.compile(
    r"""
    (?P<comment>//[^\n]*|/\*.*?\*/)
    |(?P<raw>\bu?8?R"(?P<tag>[^(\s]*)\(.*?\)(?P=tag)")
    |(?P<string>"(?:\\.|[^"\\\n])*")
    |(?P<char>(?<![0-9A-Fa-f])'(?:\\.|[^'\\\n])+')
    """,
    re.VERBOSE | re.DOTALL,
)
_DIRECTIVE = re.compile(r"^[ \t]*#(?:[^\n\\]|\\\n|\\.)*", re.MULTILINE)
_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.MULTILINE)

_TYPE_HEAD = re.compile(
    r"^(template\s*<.*>\s*)?(inline\s+)?(namespace|class|struct|enum|union|extern)\b", re.DOTALL)
_ACCESS = re.compile(r"\b(public|private|protected)$")
_NAME = re.compile(r"((?:[A-Za-z_]\w*(?:<[^()]*>)?::)*~?(?:operator\s*\S+?|[A-Za-z_]\w*))\s*$")


def _blank(text):
    """As many lines as text, all empty."""
    return "\n" * text.count("\n")


def includes(text):
    """[(line, name, quoted)] of every include directive."""
    return [(text.count("\n", 0, found.start()) + 1, found.group(2), found.group(1) == '"')
            for found in _INCLUDE.finditer(text)]


def code_only(text, keep_includes=False):
    """The text with comments, literals and directives blanked; line numbers stay."""

    def replace(found):
        if found.group("comment"):
            return " " + _blank(found.group())
        return '""' + _blank(found.group())

    def directive(found):
        if keep_includes and "include" in found.group():
            return found.group()
        return _blank(found.group())

    return _DIRECTIVE.sub(directive, _TOKENS.sub(replace, text))


def _skip_parentheses(text, start):
    """Index after the parenthesis that closes the one at start."""
    depth = 0
    for index in range(start, len(text)):
        if text[index] == "(":
            depth += 1
        elif text[index] == ")":
            depth -= 1
            if depth == 0:
                return index + 1
    return len(text)


def _function_name(head):
    """The name of the function whose body follows head; None when head is something else."""
    head = head.strip()
    if "(" not in head or _TYPE_HEAD.match(head) or head.endswith(("=", ",", "(", "return")):
        return None
    head = re.sub(r"^template\s*<[^;{}]*?>\s*(?=[\w\[])", "", head)
    opening = head.index("(")
    if head[:opening].endswith("operator"):  # operator()
        opening = head.find("(", opening + 2)
    name = _NAME.search(head[:opening])
    if opening < 0 or name is None or "=" in head[: name.start()]:
        return None
    end = _skip_parentheses(head, opening)
    if head.count("(", end) != head.count(")", end):  # Inside an argument list.
        return None
    name = name.group(1).strip()
    if name in ("TEST", "TEST_F", "TEST_P", "TYPED_TEST"):
        name = ".".join(part.strip() for part in head[opening + 1 : end - 1].split(","))
    return name


def functions(text):
    """[(name, first line, last line)] of every function with a body; a lambda is part of it."""
    code = code_only(text)
    found = []
    stack = []  # For each open brace: the function's name or None, its first line, is it a block.
    inside = 0  # How many functions are open: inner braces are not examined.
    head_start = 0
    for index, char in enumerate(code):
        if char == "{":
            head = code[head_start:index]
            # In formatted code a block's brace follows a space, a member initializer's does not.
            block = inside > 0 or head == "" or head[-1] in " \n"
            name = _function_name(head) if block and not inside else None
            first = head_start + len(head) - len(head.lstrip())
            stack.append((name, code.count("\n", 0, first) + 1, block))
            inside += name is not None
            head_start = index + 1 if block else head_start
        elif char == "}" and stack:
            name, first, block = stack.pop()
            if name is not None:
                found.append((name, first, code.count("\n", 0, index) + 1))
                inside -= 1
            head_start = index + 1 if block else head_start
        elif char == ";":
            head_start = index + 1
        elif char == ":" and not inside and _ACCESS.search(code, head_start, index):
            head_start = index + 1
    return found
