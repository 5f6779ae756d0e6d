"""What an installation has, and why it lacks what it lacks."""

from __future__ import annotations

import importlib
import platform
import sqlite3
from typing import Any

import numpy as np

from . import __version__


def diagnosis() -> dict[str, Any]:
    """Return versions, instruction sets in use and available, ONNX Runtime's providers, and the GPU or why not.

    Returns
    -------
    dict
        JSON values; what is missing is a sentence that says so.
    """
    found: dict[str, Any] = {
        "semblance": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": f"{platform.system()} {platform.machine()}",
    }
    return {**found, **_kernels(), **_sqlite(), **_onnx()}


def _kernels() -> dict[str, Any]:
    try:
        kernels = importlib.import_module("semblance.kernels")
        return {"isa_in_use": kernels.active(), "isa_available": list(kernels.available())}
    except (ImportError, RuntimeError) as error:
        return {"isa_in_use": f"none: {error}", "isa_available": []}


def _sqlite() -> dict[str, Any]:
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute("CREATE VIRTUAL TABLE words USING fts5(text)")
        words = "with FTS5"
    except sqlite3.Error:
        words = "without FTS5: collections need it"
    finally:
        connection.close()
    return {"sqlite": f"{sqlite3.sqlite_version} {words}"}


def _onnx() -> dict[str, Any]:
    try:
        runtime = importlib.import_module("onnxruntime")
    except ImportError:
        missing = "none: pip install 'semblance[onnx]'"
        return {"onnxruntime": missing, "onnx_providers": [], "gpu": "none: ONNX Runtime is not installed"}
    providers = list(runtime.get_available_providers())
    return {"onnxruntime": runtime.__version__, "onnx_providers": providers, "gpu": _gpu(runtime)}


def _gpu(runtime: Any) -> str:
    devices = importlib.import_module("semblance.encode.devices")
    reason: str = devices.missing_cuda(runtime)
    if reason.startswith("the CUDA provider refused"):  # nothing that can be seen from here is missing
        return "available"
    return f"none: {reason}"
