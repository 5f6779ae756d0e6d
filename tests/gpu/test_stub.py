"""The stub of the CUDA module says exactly what the module has, built for a card or for the emulator."""

from __future__ import annotations

import ast
from pathlib import Path
from types import ModuleType

from stubs import differences, native_names, stub_names

import semblance


def test_stub_matches_module(gpu: ModuleType) -> None:
    stub = Path(semblance.__file__).parent / "_cuda.pyi"
    assert not differences(stub_names(ast.parse(stub.read_text()).body), native_names(gpu))
