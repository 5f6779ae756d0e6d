from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

import semblance as sb

sys.path.insert(0, str(Path(__file__).parent))

GLOSS_ROWS, GLOSS_QUERIES = 20_000, 200


@pytest.fixture(scope="session")
def glosses() -> tuple[np.ndarray, np.ndarray]:
    """Sentence vectors: 20,000 rows and 200 held-out queries, float32 of 384 dimensions, unit length."""
    folder = Path(os.environ["SEMBLANCE_DATA"]) / "glosses"
    rows = np.load(folder / "base_f16.npy", mmap_mode="r")[:GLOSS_ROWS].astype(np.float32)
    return rows, np.load(folder / "queries.npz")["query"][:GLOSS_QUERIES]


@pytest.fixture(scope="session")
def glove25() -> tuple[np.ndarray, np.ndarray]:
    """Word vectors of 25 dimensions and of any length: the last 200 are queries."""
    folder = Path(os.environ["SEMBLANCE_DATA"]) / "glove25"
    rows = np.ascontiguousarray(np.load(next(folder.glob("*.npy"))), dtype=np.float32)
    return rows[:-200], rows[-200:]


@pytest.fixture(scope="session")
def glove_index(glove25: tuple[np.ndarray, np.ndarray]) -> dict[str, sb.Index]:
    """An index over those rows for each metric; tests must not change them."""
    return {metric: sb.Index.build(glove25[0], metric=metric) for metric in ("cosine", "ip", "l2")}


@pytest.fixture(scope="session")
def golden() -> Path:
    return Path(__file__).parents[1] / "golden" / "v1"


def pytest_make_parametrize_id(val: object) -> str | None:
    return json.dumps(val, default=lambda value: type(value).__name__) if isinstance(val, dict) else None
