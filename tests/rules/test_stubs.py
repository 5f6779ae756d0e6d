"""The stubs of the native module say exactly what the native module has."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import semblance

pytestmark = pytest.mark.once

PACKAGE = Path(semblance.__file__).parent
STUBS = PACKAGE / "_core"
PYBIND_SIGNATURE = re.compile(r"^(?:\d+\. )?\w+\((.*)\) -> ", re.MULTILINE)

Names = dict[str, list[str] | None]  # dotted public name -> parameter names, None where it is no function


def is_public(name: str) -> bool:
    return not name.startswith("_")


def stub_names(body: list[ast.stmt], prefix: str = "") -> Names:
    names: Names = {}
    for node in body:
        if isinstance(node, ast.FunctionDef) and is_public(node.name):
            every = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
            is_value = any(re.search(r"property$|\.setter$", ast.unparse(d)) for d in node.decorator_list)
            names[prefix + node.name] = None if is_value else [a.arg for a in every if a.arg not in ("self", "cls")]
        elif isinstance(node, ast.ClassDef) and is_public(node.name):
            names[prefix + node.name] = None
            names |= stub_names(node.body, f"{prefix}{node.name}.")
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and is_public(node.target.id):
            names[prefix + node.target.id] = None
    return names


def signature_parameters(doc: str) -> list[str]:
    """Parameter names in pybind11's first line, `f(self: X, rows: Annotated[..., "a, b"], k: int = 1) -> Y`."""
    match = PYBIND_SIGNATURE.search(doc)
    inner, depth, parts = (match[1] if match else ""), 0, [""]
    for character in re.sub(r'"[^"]*"', "", inner):
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    names = [part.split(":")[0].split("=")[0].strip() for part in parts]
    return [name for name in names if name and name not in ("self", "*", "/")]


def native_names(owner: Any, prefix: str = "") -> Names:
    names: Names = {}
    for name in filter(is_public, vars(owner)):
        member = getattr(owner, name)
        if inspect.ismodule(member):
            continue
        if inspect.isclass(member):
            names[prefix + name] = None
            names |= native_names(member, f"{prefix}{name}.")
        elif callable(member):
            names[prefix + name] = signature_parameters(member.__doc__ or "")
        else:
            names[prefix + name] = None
    return names


def agree(stub: list[str] | None, native: list[str] | None) -> bool:
    """Same names; only the same number where the binding names none and takes its arguments by position."""
    if stub is None or native is None or not all(re.fullmatch(r"arg\d+", name) for name in native):
        return native is None or stub == native
    return len(stub) == len(native)


def submodules() -> list[str]:
    core = importlib.import_module("semblance._core")
    return sorted(name for name, member in vars(core).items() if inspect.ismodule(member) and is_public(name))


@pytest.mark.parametrize("name", submodules())
def test_stub_matches_module(name: str) -> None:
    native = native_names(getattr(importlib.import_module("semblance._core"), name))
    path = STUBS / f"{name}.pyi"
    if not native:
        pytest.skip("an empty submodule needs no stub")
    assert path.is_file(), f"python/semblance/_core/{name}.pyi is missing"
    stub = stub_names(ast.parse(path.read_text()).body)
    assert sorted(stub) == sorted(native)
    differing = {key: (stub[key], found) for key, found in native.items() if not agree(stub[key], found)}
    assert not differing, "(stub, native) parameters"


def test_no_stub_without_a_module() -> None:
    stubs = {path.stem for path in STUBS.glob("*.pyi")} - {"__init__"}
    assert stubs <= set(submodules())


def test_parameters_are_read_from_pybind_signatures() -> None:
    doc = 'f(self: m.A, rows: Annotated[ArrayLike, "x, y"], k: Callable[[int, int], None] = 1, *, z: int) -> int'
    assert signature_parameters(doc) == ["rows", "k", "z"]
    assert agree(["rows", "k"], ["arg0", "arg1"])
    assert not agree(["rows"], ["arg0", "arg1"])
    assert not agree(["rows"], ["row"])
    tree = ast.parse("class A:\n @property\n def n(self) -> int: ...\n def f(self, a: int) -> None: ...\nX: int")
    assert stub_names(tree.body) == {"A": None, "A.n": None, "A.f": ["a"], "X": None}
