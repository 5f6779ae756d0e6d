"""Files of at most 500 lines, functions of at most 70, C++ functions of at most six parameters."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parents[2]
TOPS = ("kernels", "cpp", "python", "tests", "bench", "examples")
MAX_FILE, MAX_FUNCTION, MAX_PARAMETERS = 500, 70, 6
NATIVE = {".hpp", ".cpp", ".inc", ".cu", ".cuh"}
FORBIDDEN_NAMES = re.compile(r"(^|_)(util|utils|helper|helpers|common|manager|misc)(_|$)")


class Function(NamedTuple):
    name: str
    lines: int
    parameters: int


def sources(suffixes: set[str]) -> list[Path]:
    found = (p for top in TOPS if (ROOT / top).is_dir() for p in (ROOT / top).rglob("*"))
    return sorted(p for p in found if p.suffix in suffixes and "__pycache__" not in p.parts)


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


# ---- C++: enough of a reader to know where functions begin and end ----

NOISE = re.compile(
    r"""//[^\n]* | /\*.*?\*/ | R"(\w*)\(.*?\)\1" | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])+'(?!\w)
      | ^[ \t]*\#(?:[^\n]*\\\n)*[^\n]*""",
    re.VERBOSE | re.DOTALL | re.MULTILINE,
)
TEMPLATE_HEAD = re.compile(r"template\s*<[^<>]*(?:<[^<>]*>[^<>]*)*>")
INITIALISER_LIST = re.compile(r"\)[^()]*(?<!:):(?!:).*[\w>]\s*$", re.DOTALL)
TYPE_WORD = re.compile(r"\b(class|struct|union|enum)\b[^()=]*$")


def without_noise(text: str) -> str:
    """Comments, strings and preprocessor lines blanked; newlines stay where they were."""
    return NOISE.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), text)


def kind_of_scope(head: str) -> str:
    """What the `{` after `head` opens, seen from a namespace or class: function, type, namespace or braces."""
    bare = TEMPLATE_HEAD.sub(" ", head)
    if re.search(r"\bnamespace\b", bare) or re.fullmatch(r"\s*extern\s*", bare):
        return "namespace"
    if TYPE_WORD.search(bare.split("(")[0]):
        return "type"
    if "(" not in bare or re.search(r"[^=!<>]=\s*(?!default|delete)[^=]*$", bare.split("(")[0]):
        return "braces"  # an initialiser
    if INITIALISER_LIST.search(bare) and not bare.rstrip().endswith(("const", "noexcept")):
        return "braces"  # a member's initialiser in a constructor's list
    return "function"


def parameters(head: str) -> int:
    """Parameters of the function that `head` declares; the operator() name does not count as a list."""
    bare = TEMPLATE_HEAD.sub(" ", head).replace("operator()", "call")
    inner, depth, count, seen = bare[bare.index("(") + 1 :], 0, 0, False
    for character in inner:
        if character in "([{<":
            depth += 1
        elif character in ")]}>":
            if depth == 0:
                break
            depth -= 1
        elif character == "," and depth == 0:
            count += 1
        seen = seen or not character.isspace()
    return count + 1 if seen else 0


def cpp_functions(text: str) -> Iterator[Function]:
    """Functions with a body at namespace or class level; lambdas count as part of the function around them."""
    clean = without_noise(text)
    stack: list[tuple[str, str, int]] = []  # kind, head, offset of the head's first character
    start, parens = 0, 0
    for i, character in enumerate(clean):
        inside = any(kind in ("function", "braces") for kind, _, _ in stack)
        if character == "{":
            head = clean[start:i]
            kind = "braces" if inside or parens else kind_of_scope(head)
            stack.append((kind, head, start + len(head) - len(head.lstrip())))
            if kind in ("namespace", "type"):
                start = i + 1
        elif character == "}" and stack:
            kind, head, begin = stack.pop()
            if kind == "function":
                before = TEMPLATE_HEAD.sub(" ", head).split("(")[0].split()
                yield Function(before[-1] if before else "?", clean.count("\n", begin, i) + 1, parameters(head))
            if kind != "braces":
                start = i + 1
        elif not inside:
            parens += (character == "(") - (character == ")")
            if character == ";" and not parens:
                start = i + 1


CPP_SAMPLE = """
// void commented() { }
#define MACRO(x) do { x; } while (0)
namespace a::b {
template <class T, int n = (1 + 2)>
struct Box {
  Box(int x, std::map<int, int> y = {}) : x_{x}, y_(y) {
    if (x) { x_ = 1; }
  }
  bool operator()(int a, int b) const noexcept { return a < b; }
  int x_{0};
  enum class Kind { one, two };
};
constexpr int kTable[] = {1, 2, 3};
static const Thing kThing = make(1, {2});
auto long_one(int a,
              int b) -> std::vector<int> {
  const char* s = "} not me {";
  auto f = [&](int c) {
    return c;
  };
  return {a, b};
}
}  // namespace a::b
extern "C" { void plain() {} }
"""


def test_the_reader_of_functions() -> None:
    assert list(cpp_functions(CPP_SAMPLE)) == [
        Function("Box", 3, 2),
        Function("operator", 1, 2),
        Function("long_one", 8, 2),
        Function("plain", 1, 0),
    ]


@pytest.mark.parametrize("path", sources(NATIVE), ids=named)
def test_cpp_functions_are_small(path: Path) -> None:
    functions = list(cpp_functions(path.read_text()))
    long = [f"{f.name}: {f.lines} lines" for f in functions if f.lines > MAX_FUNCTION]
    wide = [f"{f.name}: {f.parameters} parameters" for f in functions if f.parameters > MAX_PARAMETERS]
    if path.parent.name in ("bind", "native"):  # a binding takes what its Python call takes, a test what its case has
        wide = []
    assert not long + wide


def python_functions(text: str) -> Iterator[Function]:
    """Functions and methods; the docstring is documentation and does not count."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if ast.get_docstring(node) is not None:
                lines -= (node.body[0].end_lineno or 0) - node.body[0].lineno + 1
            yield Function(node.name, lines, len(node.args.args))


def test_the_reader_of_python_functions() -> None:
    assert list(python_functions('def f(a, b):\n    """One.\n\n    Two.\n    """\n    return a\n')) == [
        Function("f", 2, 2)
    ]


@pytest.mark.parametrize("path", sources({".py"}), ids=named)
def test_python_functions_are_small(path: Path) -> None:
    long = [f"{f.name}: {f.lines} lines" for f in python_functions(path.read_text()) if f.lines > MAX_FUNCTION]
    assert not long


@pytest.mark.parametrize("path", sources({*NATIVE, ".py", ".pyi"}), ids=named)
def test_files_are_small_and_say_what_they_are(path: Path) -> None:
    lines = path.read_text().count("\n") + 1
    assert lines <= MAX_FILE, f"{lines} lines, at most {MAX_FILE}"
    assert not FORBIDDEN_NAMES.search(path.stem), "name a file after what it holds"
