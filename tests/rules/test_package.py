"""What is installed: complete, small, linked to the C++ runtime alone, and cheap to import."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import semblance

pytestmark = pytest.mark.once

PACKAGE = Path(semblance.__file__).parent
SYSTEM_LIBRARIES = re.compile(r"(libstdc\+\+|libgcc_s|libc|libm|libpthread|ld-linux-[\w-]+)\.so\.\d+")
HEAVY = {"onnxruntime", "onnx", "pyarrow", "typer", "rich", "scipy", "pandas", "torch", "matplotlib", "pytest"}


def native_module() -> Path:
    return next(path for path in PACKAGE.glob("_core.*") if path.suffix in (".so", ".pyd"))


@pytest.mark.skipif(not shutil.which("readelf"), reason="readelf is not on the path")
def test_native_module_needs_the_cpp_runtime_alone() -> None:
    dynamic = subprocess.run(["readelf", "-d", native_module()], capture_output=True, text=True, check=True).stdout
    needed = re.findall(r"\(NEEDED\).*\[(.+)\]", dynamic)
    assert "libc.so.6" in needed
    assert [name for name in needed if not SYSTEM_LIBRARIES.fullmatch(name)] == []
    assert not re.search(r"\((RPATH|RUNPATH)\)", dynamic)


def installed_files() -> list[Path]:
    """Files of the installed distribution; empty where the sources are run in place."""
    try:
        distribution = importlib.metadata.distribution("semblance")
    except importlib.metadata.PackageNotFoundError:
        return []
    files = [Path(str(distribution.locate_file(file))) for file in distribution.files or ()]
    return files if native_module() in files else []


@pytest.mark.skipif(not installed_files(), reason="run in place, not installed")
def test_the_distribution_is_complete_and_small() -> None:
    files = [file for file in installed_files() if file.suffix != ".pyc" and file.is_file()]
    names = {file.name for file in files}
    assert {"py.typed", "LICENSE", "NOTICE", "WordNet-3.0.txt"} <= names
    assert sum(file.stat().st_size for file in files) <= 15e6
    assert not [name for name in names if name.endswith((".hpp", ".a", ".h", ".cpp"))]
    sections = subprocess.run(["readelf", "-SW", native_module()], capture_output=True, text=True, check=False).stdout
    assert ".debug_info" not in sections


def test_import_is_cheap() -> None:
    program = (
        "import os, semblance\n"
        "pages = int(open('/proc/self/statm').read().split()[1]) if os.path.exists('/proc/self/statm') else 0\n"
        "print(pages * os.sysconf('SC_PAGE_SIZE'), *{name.split('.')[0] for name in sys.modules})\n"
    )
    path = str(PACKAGE.parent)
    printed = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {path!r})\n{program}"],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    resident, modules = int(printed[0]), set(printed[1:])
    assert not modules & HEAVY
    assert resident <= 60e6
