"""Tests of semblance.gpu run on a card where there is one, and on the CPU where the emulated module was built.

``cmake --preset emulated && cmake --build --preset emulated`` builds it; SEMBLANCE_CUDA_EMULATED names another
file.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

import semblance as sb

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "rules"), str(ROOT / "tests" / "index")]


def emulated_file() -> Path | None:
    named = os.environ.get("SEMBLANCE_CUDA_EMULATED")
    if named:
        return Path(named)
    return next((ROOT / "build" / "emulated" / "emulated").glob("_cuda.*.so"), None)


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("_cuda", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def emulated_module() -> ModuleType:
    path = emulated_file()
    if path is None:
        pytest.skip("the emulated kernels are not built: cmake --preset emulated && cmake --build --preset emulated")
    return load(path)


@pytest.fixture(params=[pytest.param("card", marks=pytest.mark.gpu), pytest.param("emulated", marks=pytest.mark.once)])
def gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """semblance._cuda, on a card or emulated."""
    if request.param == "emulated":
        module = request.getfixturevalue("emulated_module")
        monkeypatch.setitem(sys.modules, "semblance._cuda", module)
        monkeypatch.setattr(sb, "_cuda", module, raising=False)
    elif not sb.gpu.is_available():
        pytest.skip(f"no GPU: {sb.gpu.reason()}")
    from semblance import _cuda

    assert (request.param == "emulated") == _cuda.EMULATED
    return _cuda
