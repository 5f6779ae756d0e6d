"""Includes and imports point downwards only."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parents[2]
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)

KERNEL_FACE = r"(\.\./)*(kernel_table|link_kernels|table_kernels)\.hpp"
INTRINSICS = r"(immintrin|x86intrin|cpuid|arm_neon|arm_bf16)\.h"
ENGINE_STANDARD = r"(?!pybind11|Python\.h|numpy|cuda|onnx)[a-z0-9_/.]+"

# folder -> (what may stand in <>, what may stand in "")
ALLOWED = {
    "kernels/cpu": (rf"cstddef|cstdint|{INTRINSICS}", rf"{KERNEL_FACE}|(cpu/)?[a-z0-9_]+\.(inc|hpp)"),
    "kernels/cuda": (
        ENGINE_STANDARD.replace("|cuda", ""),
        r"(kernel_table|table_kernels)\.hpp|([a-z]+_)?api\.hpp|cuda_(words|warpgroups)\.hpp|[a-z0-9_]+\.cuh",
    ),
    "kernels": (ENGINE_STANDARD, r"(kernel_table|link_kernels|table_kernels|reference)\.hpp"),
    "cpp/core": (ENGINE_STANDARD, rf"core/\w+\.hpp|{KERNEL_FACE}"),
    "cpp/codec": (ENGINE_STANDARD, rf"(core|codec)/\w+\.hpp|{KERNEL_FACE}"),
    "cpp/index": (ENGINE_STANDARD, rf"(core|codec|index)/\w+\.hpp|{KERNEL_FACE}"),
    "cpp/table": (ENGINE_STANDARD, rf"(core|codec|table)/\w+\.hpp|{KERNEL_FACE}"),
    "cpp/text": (ENGINE_STANDARD, r"(core|table|text)/\w+\.hpp|text/unicode_tables\.inc"),
    "cpp/bind": (r".+", r".+"),
}
# files and folders
CORE_IMPORTERS = {"index.py", "searching.py", "filters.py", "ground_truth.py", "codecs.py", "kernels.py", "tables"}
CORE_IMPORTERS |= {"measure", "encode/wordpiece.py"}


def native_sources() -> list[Path]:
    suffixes = {".hpp", ".cpp", ".inc", ".cu", ".cuh"}
    return sorted(p for top in ("kernels", "cpp") for p in (ROOT / top).rglob("*") if p.suffix in suffixes)


def includes_against_the_layers(folder: str, text: str) -> list[str]:
    angle, quoted = ALLOWED[folder]
    return [name for kind, name in INCLUDE.findall(text) if not re.fullmatch(angle if kind == "<" else quoted, name)]


@pytest.mark.parametrize("path", native_sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_includes_point_downwards(path: Path) -> None:
    folder = str(path.parent.relative_to(ROOT))
    assert folder in ALLOWED, f"{folder}: a new layer needs its line in this test and in docs/architecture.md"
    wrong = includes_against_the_layers(folder, path.read_text())
    assert not wrong, f"{folder} may not include {wrong}"


def test_a_wrong_include_is_seen() -> None:
    assert includes_against_the_layers("cpp/index", '#include "table/pooling.hpp"\n#include <vector>') == [
        "table/pooling.hpp"
    ]
    assert includes_against_the_layers("cpp/core", "#include <pybind11/numpy.h>") == ["pybind11/numpy.h"]
    assert includes_against_the_layers("kernels/cpu", "# include <vector>") == ["vector"]


def imported(tree: ast.AST) -> set[str]:
    """Every dotted name that a module imports, relative ones without their dots."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            names.update(f"{base}.{alias.name}".strip(".") for alias in node.names)
            names.add(base)
    return names


def python_sources() -> list[Path]:
    return sorted((ROOT / "python" / "semblance").rglob("*.py"))


@pytest.mark.parametrize("path", python_sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_python_imports_keep_their_place(path: Path) -> None:
    inside = path.relative_to(ROOT / "python" / "semblance")
    parts = {part for name in imported(ast.parse(path.read_text())) for part in name.split(".")}
    if not {inside.parts[0], inside.as_posix()} & CORE_IMPORTERS:
        assert "_core" not in parts, f"_core is imported only by {sorted(CORE_IMPORTERS)}"
    if inside.parts[0] != "gpu":
        assert "_cuda" not in parts, "_cuda is imported only by gpu/"
    if str(inside) != "encode/onnx.py":
        assert "onnxruntime" not in parts, "onnxruntime is imported only by encode/onnx.py"


def test_a_wrong_import_is_seen() -> None:
    assert "_core" in imported(ast.parse("def f():\n    from . import _core"))
    assert "_core.index" in imported(ast.parse("from ._core import index"))
    assert "onnxruntime" in imported(ast.parse("if True:\n    import onnxruntime as ort"))
