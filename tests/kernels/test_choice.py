"""Which instruction set is used: the best one, or the one that SEMBLANCE_ISA names, or an error that says why not."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

import semblance as sb

pytestmark = pytest.mark.once  # sets SEMBLANCE_ISA itself

ORDER = ["scalar", "neon", "avx2", "avx512", "avx512vnni"]
FIRST_USES = [
    "sb.kernels.active()",
    "sb.exact(np.ones((2, 4), np.float32), np.ones((1, 4), np.float32), 1)",
    "sb.EmbeddingTable.from_dense(np.ones((3, 4), np.float32), dtype='f32')",
]


def run_python(code: str, isa: str | None) -> str:
    """The last line that a fresh interpreter prints; an exception's own line where the code raises."""
    env = {name: value for name, value in os.environ.items() if name != "SEMBLANCE_ISA"}
    if isa is not None:
        env["SEMBLANCE_ISA"] = isa
    program = f"import numpy as np, semblance as sb\n{code}"
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=False)
    return (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()[-1]


def test_available_is_ordered_and_begins_with_scalar() -> None:
    found = sb.kernels.available()
    assert found[0] == "scalar"
    assert found == [isa for isa in ORDER if isa in found]
    if platform.machine() in ("arm64", "aarch64"):
        assert found == ["scalar", "neon"]
    else:
        assert "neon" not in found


def test_the_widest_is_chosen() -> None:
    assert run_python("print(sb.kernels.active())", None) == sb.kernels.available()[-1]
    assert run_python("print(sb.kernels.active())", "") == sb.kernels.available()[-1]


@pytest.mark.parametrize("isa", sb.kernels.available())
def test_each_can_be_forced(isa: str) -> None:
    assert run_python("print(sb.kernels.active())", isa) == isa


@pytest.mark.parametrize("isa", ["avx9", "AVX2", " avx2", "scalar,avx2", "x" * 500])
@pytest.mark.parametrize("first_use", FIRST_USES)
def test_an_unknown_name_raises_at_first_use(isa: str, first_use: str) -> None:
    last = run_python(first_use, isa)
    names = ", ".join(sb.kernels.available())
    assert last == f"semblance.errors.ArgumentError: SEMBLANCE_ISA: expected one of {names}, got '{isa[:63]}'"


@pytest.mark.parametrize("first_use", FIRST_USES)
def test_an_unsupported_name_raises_at_first_use(first_use: str) -> None:
    lacking = [isa for isa in ORDER if isa not in sb.kernels.available()]
    for isa in lacking:
        last = run_python(first_use, isa)
        assert last.startswith("semblance.errors.UnsupportedError: SEMBLANCE_ISA: expected one of scalar")
        assert last.endswith(f"got '{isa}', which this build or this processor lacks")
    assert lacking, "every machine lacks either neon or the rest"


def test_importing_and_listing_work_under_a_wrong_name() -> None:
    assert run_python("print(sb.kernels.available()[0])", "avx9") == "scalar"


def test_choosing_is_safe_from_many_threads() -> None:
    code = """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(16) as pool:
    print(len(set(pool.map(lambda _: sb.kernels.active(), range(64)))))
"""
    assert run_python(code, None) == "1"
