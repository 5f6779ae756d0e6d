"""Make, use and destroy, over and over: memory must stay flat."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from victims import TEXTS, VICTIMS, rows

import semblance as sb


def index_cycle(folder: Path) -> None:
    index = sb.Index(16, max_degree=8, ef_construction=40)
    index.add(rows("l2", 60))
    index.search(rows("l2", 2, seed=1), 3)
    index.remove([1, 2])
    index.compact()
    index.save(folder / "index")
    sb.Index.load(folder / "index", mmap=True).search(rows("l2", 2, seed=1), 3)


def table_cycle(folder: Path) -> None:
    table = sb.EmbeddingTable.from_dense(rows("l2", 200), keys=np.arange(200) * 7, missing="zero")
    with table.writer() as writer:
        writer.upsert([7, 9], rows("l2", 2))
    table.pool([7, 14, 21], [0, 1, 3])
    table.save(folder / "table")
    sb.EmbeddingTable.load(folder / "table", mmap=True).lookup([7])


def encoder_cycle(folder: Path) -> None:
    path = folder / "encoder"
    if not path.exists():
        VICTIMS["encoder"].make(path)
    sb.Encoder(path).encode(TEXTS)


def collection_cycle(folder: Path) -> None:
    with sb.Collection.open(folder / "items.db", dim=16) as db:
        db.upsert([{"id": i, "vector": row} for i, row in enumerate(rows("l2", 10))])
        db.search(rows("l2", 1, seed=1)[0], k=2)
        db.remove([3])


def refused_cycle(folder: Path) -> None:
    """Calls that raise must not leak either."""
    path = folder / "bad"
    path.write_bytes(b"\x10\0\0\0\0\0\0\0" + b"x" * 100)
    for call in (lambda: sb.Index.load(path), lambda: sb.Index(4).add([[1.0, np.nan, 0, 0]]), lambda: sb.Index(-1)):
        try:
            call()
        except sb.Error:
            continue
        raise AssertionError("expected an error")


CYCLES: dict[str, Callable[[Path], None]] = {
    "index": index_cycle, "table": table_cycle, "encoder": encoder_cycle, "collection": collection_cycle,
    "refused calls": refused_cycle,
}  # fmt: skip


def resident_bytes() -> int:
    """Memory that this process has in use now (Linux)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def growth(name: str, count: int, folder: Path) -> tuple[int, int]:
    """(bytes after the first tenth of the cycles, bytes at the end)."""
    folder.mkdir(exist_ok=True)
    warm = max(count // 10, 20)
    for turn in range(count):
        CYCLES[name](folder)
        if turn + 1 == warm:
            gc.collect()
            before = resident_bytes()
    gc.collect()
    return before, resident_bytes()
