"""Writes the index files of format version 1 under tests/golden/v1. A released file is never written again."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import semblance as sb


def rows(n: int, d: int) -> np.ndarray:
    """Vectors of whole numbers from -4 to 4, by a rule that needs no random generator: row i, column j."""
    i, j = np.arange(n)[:, None], np.arange(d)[None]
    return ((i * 7 + j * 5 + i * j * 3 + i * i) % 151 % 9 - 4).astype(np.float32)


def bits(n: int, d: int) -> np.ndarray:
    return np.packbits(rows(n, d) > 0, axis=1)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    split = sb.Index(20, metric="ip", codes="i4", rerank="i8", max_degree=8, ef_construction=40, seed=5)
    split.add(rows(150, 20), np.arange(150) + 7)
    split.remove([9])
    split.save(folder / "index-hnsw-i4.sb")
    cosine = sb.Index(16, max_degree=8, ef_construction=40, seed=3)
    cosine.add(rows(150, 16) + 0.5, np.arange(150) * 2)
    cosine.remove([0, 20, 298])
    cosine.ef = 77
    cosine.save(folder / "index-hnsw-cosine.sb", {"made_by": "tests/golden/make_v1.py"})
    flat = sb.Index(12, metric="l2", kind="flat")
    flat.add(rows(100, 12), np.arange(100) + 1000)
    flat.upsert(rows(5, 12)[::-1], np.arange(1000, 1005))
    flat.save(folder / "index-flat-l2.sb")
    hamming = sb.Index(64, metric="hamming", max_degree=8, ef_construction=40)
    hamming.add(bits(150, 64), np.arange(150))
    hamming.save(folder / "index-hnsw-hamming.sb")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
