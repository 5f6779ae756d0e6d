"""What every test shares: the data folder, the instruction set of the run, and what to skip where."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("semblance", deadline=None)  # timings on shared machines are no property of the code
settings.load_profile("semblance")


def pytest_report_header() -> str:
    import semblance as sb

    forced = os.environ.get("SEMBLANCE_ISA")
    if forced and sb.kernels.active() != forced:
        raise pytest.UsageError(f"SEMBLANCE_ISA={forced}, but {sb.kernels.active()} runs")
    return f"semblance {sb.__version__} from {Path(sb.__file__).parent}, instruction set {sb.kernels.active()}"


# Folders of tests that no instruction set can change the outcome of.
ONCE = {"cli", "collection", "docs", "examples", "gpu", "rules", "storage"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent.name in ONCE:
            item.add_marker(pytest.mark.once)
    if os.environ.get("SEMBLANCE_DATA"):
        return
    skip = pytest.mark.skip(reason="SEMBLANCE_DATA does not name the data set folder")
    for item in items:
        if item.get_closest_marker("data"):
            item.add_marker(skip)
