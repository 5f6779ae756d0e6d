"""Each instruction set's object file exports its table and nothing else.

A weak symbol compiled with wider instructions than the machine has can win at link time and crash every caller; a
static initialiser runs before dispatch had its say.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parents[2]
PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
TOOLS = ("cmake", "ninja", "nm", "readelf")
COMPILER = next((c for c in ("c++", "g++", "clang++") if shutil.which(c)), None)
MISSING = [tool for tool in TOOLS if not shutil.which(tool, path=PATH)] + ([] if COMPILER else ["a C++ compiler"])
needs_tools = pytest.mark.skipif(bool(MISSING), reason=f"not on the path: {', '.join(MISSING)}")


def run(*command: str | Path) -> str:
    program = shutil.which(command[0], path=PATH) or str(command[0])
    parts = [program, *(str(part) for part in command[1:])]
    done = subprocess.run(parts, capture_output=True, text=True, check=False, env={**os.environ, "PATH": PATH})
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


def faults(obj: Path) -> list[str]:
    """What is wrong with an object file by the laws above; empty for a good one."""
    symbols = [line.split() for line in run("nm", "--defined-only", "--extern-only", obj).splitlines() if line]
    weak = [name for _, kind, name in symbols if kind in "WwVvu"]
    strong = [name for _, kind, name in symbols if kind not in "WwVvu"]
    found = [f"weak symbol {name}" for name in weak]
    if len(strong) != 1:
        found.append(f"exports {strong}, not one table")
    sections = run("readelf", "--sections", "--wide", obj)
    found += [f"section {name}" for name in (".init_array", ".ctors", ".preinit_array") if name in sections]
    return found


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    build = tmp_path_factory.mktemp("kernels")
    run("cmake", "-S", ROOT, "-B", build, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", "-DSEMBLANCE_PYTHON=OFF")
    run("cmake", "--build", build, "--target", "semblance_kernels", "--parallel", "2")
    return sorted(build.rglob("kernels_*.cpp.o"))


@needs_tools
def test_every_isa_object_exports_its_table_alone(objects: list[Path]) -> None:
    assert objects, "no kernels_<isa>.cpp was compiled"
    wrong = {obj.name: faults(obj) for obj in objects if faults(obj)}
    assert not wrong


@needs_tools
@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("inline int f(int x) { return x + 1; }\nextern int (*const table)(int); int (*const table)(int) = f;", "weak"),
        ("int first = 1; int second = 2;", "not one table"),
        ("int make(); static int made = make(); extern int* const table; int* const table = &made;", ".init_array"),
    ],
)
def test_a_bad_object_is_seen(source: str, fault: str, tmp_path: Path) -> None:
    (tmp_path / "bad.cpp").write_text(source + "\n")
    run(str(COMPILER), "-O0", "-c", tmp_path / "bad.cpp", "-o", tmp_path / "bad.o")
    assert any(fault in found for found in faults(tmp_path / "bad.o"))
