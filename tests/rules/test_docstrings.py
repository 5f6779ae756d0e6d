"""Public docstrings: NumPy sections, every parameter, shapes of arrays, examples that run."""

from __future__ import annotations

import doctest
import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from itertools import zip_longest
from typing import Any

import pytest

import semblance as sb

pytestmark = pytest.mark.once

SECTION = re.compile(r"^(Parameters|Returns|Yields|Raises|Examples|Attributes|Notes|References)\n-{3,}$", re.MULTILINE)
SHAPE = re.compile(r"\([^()]*,[^()]*\)|\bscalar\b|\bshape\b")
ARRAY = re.compile(r"ndarray|NDArray|ArrayLike|Hits|Ranges")


def public_names() -> list[str]:
    return [name for name in sb.__all__ if not inspect.ismodule(getattr(sb, name))]


def is_error(thing: Any) -> bool:
    return inspect.isclass(thing) and issubclass(thing, BaseException)


def unwrapped(member: Any) -> Any:
    return member.__func__ if isinstance(member, classmethod | staticmethod) else member


def callables() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Public functions, and the public methods that our own classes define."""
    for name in public_names():
        thing = getattr(sb, name)
        if inspect.isfunction(thing):
            yield name, thing
        elif inspect.isclass(thing) and not is_error(thing):
            for attribute, member in vars(thing).items():
                function = unwrapped(member)
                if inspect.isfunction(function) and not attribute.startswith("_") and function.__module__ != "typing":
                    yield f"{name}.{attribute}", function
    for name in sb.kernels.__all__:
        yield f"kernels.{name}", getattr(sb.kernels, name)


def documented_parameters(function: Callable[..., Any]) -> list[str]:
    signature = inspect.signature(function)
    return [name for name in signature.parameters if name not in ("self", "cls") and not name.startswith("_")]


def section(doc: str, name: str) -> str:
    """The text of one section, empty where it is missing."""
    heads = list(SECTION.finditer(doc))
    for head, after in zip_longest(heads, heads[1:]):
        if head[1] == name:
            return doc[head.end() : after.start() if after else len(doc)]
    return ""


def faults(name: str, function: Callable[..., Any]) -> list[str]:
    doc = inspect.getdoc(function) or ""
    if not doc:
        return [f"{name}: no docstring"]
    found = []
    parameters = documented_parameters(function)
    listed = section(doc, "Parameters")
    missing = [p for p in parameters if not re.search(rf"(^|[\s,*]){re.escape(p)}\b[^\n]*$", listed, re.MULTILINE)]
    if missing:
        found.append(f"{name}: Parameters lacks {missing}")
    returned = str(function.__annotations__.get("return", "None"))
    says_so = not parameters and doc.startswith("Return ")  # one sentence is enough for a plain answer
    has_section = re.search(r"^(Returns|Yields)\n-{3,}$", doc, re.MULTILINE)
    if returned not in ("None", "NoReturn") and not says_so and not has_section:
        found.append(f"{name}: no Returns, though it returns {returned}")
    if parameters and not section(doc, "Raises").strip():
        found.append(f"{name}: no Raises")
    takes_arrays = any(ARRAY.search(str(a)) for a in function.__annotations__.values())
    if takes_arrays and not SHAPE.search(doc):
        found.append(f"{name}: takes or returns arrays and names no shape")
    return found


@pytest.mark.parametrize(("name", "function"), list(callables()), ids=lambda v: v if isinstance(v, str) else "")
def test_sections_are_complete(name: str, function: Callable[..., Any]) -> None:
    assert not faults(name, function)


def test_a_poor_docstring_is_seen() -> None:
    def poor(rows: "np.ndarray", k: int) -> "np.ndarray":  # noqa: F821, UP037
        """Rows.

        Parameters
        ----------
        rows : the rows
        """

    assert [fault.split(":")[1].split()[0] for fault in faults("poor", poor)] == ["Parameters", "no", "no", "takes"]


@pytest.mark.parametrize("name", public_names())
def test_every_public_name_has_an_example_that_runs(name: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    thing = getattr(sb, name)
    doc = inspect.getdoc(thing) or ""
    assert doc, "no docstring"
    if is_error(thing) or not callable(thing):
        return
    is_answer = inspect.isclass(thing) and (issubclass(thing, tuple) or is_dataclass(thing))
    finder = doctest.DocTestFinder(exclude_empty=True)
    tests = [t for t in finder.find(thing, name, extraglobs={"sb": sb}) if t.examples]
    assert tests or is_answer, "no Examples section"
    monkeypatch.chdir(tmp_path)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    report: list[str] = []
    for test in tests:
        runner.run(test, out=report.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(report)
