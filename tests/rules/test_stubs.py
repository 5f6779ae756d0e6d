"""The stubs of the native module say exactly what the native module has."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path

import pytest
from stubs import agree, differences, is_public, native_names, signature_parameters, stub_names

import semblance

pytestmark = pytest.mark.once

PACKAGE = Path(semblance.__file__).parent
STUBS = PACKAGE / "_core"


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
    assert not differences(stub_names(ast.parse(path.read_text()).body), native)


def test_no_stub_without_a_module() -> None:
    stubs = {path.stem for path in STUBS.glob("*.pyi")} - {"__init__"}
    assert stubs <= set(submodules())


def test_parameters_are_read_from_pybind_signatures() -> None:
    doc = 'f(self: m.A, rows: Annotated[ArrayLike, "x, y"], k: Callable[[int, int], None] = 1, *, z: int) -> int'
    assert signature_parameters(doc) == ["rows", "k", "z"]
    assert agree(["rows", "k"], ["arg0", "arg1"])
    assert not agree(["rows"], ["arg0", "arg1"])
    assert not agree(["rows"], ["row"])
    assert differences({"f": ["a"], "g": None}, {"f": ["b"], "h": None}) == [
        "g: only in the stub",
        "h: only in the module",
        "f: ['a'] in the stub, ['b'] in the module",
    ]
    tree = ast.parse("class A:\n @property\n def n(self) -> int: ...\n def f(self, a: int) -> None: ...\nX: int")
    assert stub_names(tree.body) == {"A": None, "A.n": None, "A.f": ["a"], "X": None}
