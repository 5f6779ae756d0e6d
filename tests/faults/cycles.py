"""Make, use and destroy, over and over: memory must stay flat."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from victims import SPACES, TEXTS, VICTIMS, items, rows

import semblance as sb


def index_cycle(metric: str, **params: Any) -> Callable[[Path], None]:
    """Build, search, change, compact, save and load an index of that layout."""
    some, queries = rows(metric, 60), rows(metric, 2, seed=1)

    def cycle(folder: Path) -> None:
        index = sb.Index(16, metric=metric, **params)
        index.add(some)
        index.search(queries, 3, allowed=index.allow([4, 5, 6]))
        index.within(queries, 1.0)
        index.remove([1, 2])
        index.upsert(some[:3], [5, 6, 100])
        index.compact()
        index.save(folder / "index")
        loaded = sb.Index.load(folder / "index", mmap=True)
        loaded.search(queries, 3)
        loaded.add(some[:1])

    return cycle


def spaces_cycle(folder: Path) -> None:
    index = sb.SpacesIndex(SPACES, max_degree=8, ef_construction=40)
    index.add(items(60))
    index.search(items(2, seed=1), 3, {"title": 2.0})
    index.upsert(items(3, seed=2), [5, 6, 100])
    index.save(folder / "spaces")
    sb.SpacesIndex.load(folder / "spaces", mmap=True).add(items(1, seed=3))


def table_cycle(folder: Path) -> None:
    table = sb.EmbeddingTable.from_dense(rows("l2", 200), keys=np.arange(200) * 7, missing="zero")
    with table.writer() as writer:
        writer.upsert([7, 9], rows("l2", 2))
    table.pool([7, 14, 21], [0, 1, 3])
    table.save(folder / "table")
    sb.EmbeddingTable.load(folder / "table", mmap=True).lookup([7])


def words_cycle(folder: Path) -> None:
    table = sb.EmbeddingTable.from_dense(rows("l2", 60), dtype="i4", keys=[f"key {i}" for i in range(60)])
    table.lookup(["key 3", "key 8"])
    table.save(folder / "words")
    sb.EmbeddingTable.load(folder / "words").score(rows("l2", 1)[0], ["key 9"])


def made_cycle(folder: Path) -> None:
    """Tables whose rows are made, and a group of tables."""
    some = rows("l2", 40)
    hashed = sb.tables.hashed(some, "feature", 2, combine="sum")
    coded = sb.tables.product(some, 4, 8, iterations=2, threads=1)
    group = sb.TableGroup({"a": hashed, "b": coded})
    group.lookup({"a": [5, 6], "b": ([1, 2, 3], [0, 1, 3])})


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
    "index, i8 graph": index_cycle("cosine", codes="i8", max_degree=8, ef_construction=40),
    "index, f32 graph": index_cycle("ip", codes="f32", max_degree=8, ef_construction=40),
    "index, neighbour codes": index_cycle("l2", codes="b1", max_degree=8, ef_construction=40),
    "index, packed bits": index_cycle("hamming", max_degree=8, ef_construction=40),
    "index, flat": index_cycle("l2", kind="flat"),
    "index of spaces": spaces_cycle,
    "table": table_cycle, "table of words": words_cycle, "made tables and a group": made_cycle,
    "encoder": encoder_cycle, "collection": collection_cycle, "refused calls": refused_cycle,
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
