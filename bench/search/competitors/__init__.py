"""One file a library: a class `Competitor` with `build`, `efforts` and `search`, and what it is called in tables."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]

WIDTHS = (10, 14, 20, 24, 28, 32, 36, 40, 48, 56, 64, 80, 112, 160, 224, 320, 448, 640)  # of searches over graphs


class Competitor(Protocol):
    """A library's index over one set of unit vectors (cosine) or of any vectors (l2)."""

    def build(self, base: F32, metric: str, threads: int) -> None:
        """Index `base` (n, d)."""

    def efforts(self) -> list[object]:
        """Settings of a search, from quick to thorough."""

    def search(self, queries: F32, k: int, effort: object) -> npt.NDArray[np.int64]:
        """Rows of the k nearest of each query, on one thread."""
