"""Fixtures of the encoder tests; lets them import the tiny models that lie beside them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from tiny_models import write_folder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model's folder; tests must not change it."""
    return write_folder(tmp_path_factory.mktemp("hub") / "tiny")


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes a fresh folder that a test may damage."""
    return lambda **settings: write_folder(tmp_path / "model", **settings)
