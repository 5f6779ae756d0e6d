"""A process that may not have more memory: ``limits.py WHAT MEGABYTES``, and what is left of its objects.

The limit on address space (RLIMIT_AS) is set a little above what the process has, one call is made that wants more, and
the limit is lifted again. It prints how the call ended and what is broken, if anything.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from harness import outlasted

import semblance as sb

D = 64
BATCH = 1024
RNG = np.random.default_rng(0)


@dataclass
class Case:
    """A call that wants memory, and whether its object is as it was (0) or wholly changed (1) afterwards."""

    call: Callable[[], Any]
    changes: Callable[[], int]


def rows(n: int) -> np.ndarray:
    return RNG.normal(size=(n, D)).astype(np.float32)


def index_case(size: int, act: str, path: Path, n: int = 400, **params: Any) -> Case:
    first, more = rows(n), rows(size)
    index = sb.Index(D, metric="l2", max_degree=8, ef_construction=16, **params)
    index.add(first)
    before = index.search(first[:20], 5, exact=True)
    index.save(path)
    ids = np.arange(100_000, 100_000 + size)

    def changes() -> int:
        assert index.check().ok
        done = int(len(index) > n)
        assert len(index) == n + done * size
        after = index.search(first[:20], 5, exact=True, allowed=np.arange(n))
        assert np.array_equal(after.ids, before.ids)
        again = index.upsert(more[:2], [1, 2])
        assert (index.search(more[:2], 1, exact=True, allowed=[1, 2]).ids[:, 0] == again).all()
        assert len(sb.Index.load(path)) == n
        return done

    calls: dict[str, Callable[[], Any]] = {
        "load": lambda: sb.Index.load(path),
        "map": lambda: sb.Index.load(path, mmap=True).add(more, ids),
        "save": lambda: index.save(path),
        "add": lambda: index.add(more, ids),
        "search": lambda: index.search(more, 400, exact=True),
        "compact": index.compact,
    }
    return Case(calls[act], changes)


def table_case(act: str) -> Case:
    kept, more, asked = rows(400), rows(300_000), np.arange(400).repeat(3000)
    table = sb.EmbeddingTable.from_dense(kept, dtype="f32", keys=np.arange(400))

    def upsert() -> None:
        with table.writer() as writer:
            writer.upsert(np.arange(1000, 301_000), more)

    def changes() -> int:
        assert np.array_equal(table.lookup(np.arange(400)), kept)
        done = int(len(table) > 400)
        assert len(table) == 400 + done * 300_000
        return done

    calls: dict[str, Callable[[], Any]] = {
        "upsert": upsert,
        "look-up": lambda: table.lookup(asked),
        "made": lambda: sb.EmbeddingTable.from_dense(more, dtype="i8", keys=np.arange(300_000)),
    }
    return Case(calls[act], changes)


def encoder_case() -> Case:
    encoder = sb.Encoder()
    texts = [f"the number {i} of many" for i in range(60_000)]
    before = encoder.encode(texts[:3])

    def changes() -> int:
        assert np.array_equal(encoder.encode(texts[:3]), before)
        return 0

    return Case(lambda: encoder.encode(texts), changes)


def collection_case(act: str, folder: Path) -> Case:
    db = sb.Collection.open(folder / "items.db", dim=D, indexed=("n",))
    first, more = rows(200), rows(15_000)
    db.add([{"id": i, "vector": row, "n": i} for i, row in enumerate(first)])
    records = [{"id": 1000 + i, "vector": row, "n": i, "text": "word " * 30} for i, row in enumerate(more)]

    def changes() -> int:  # more than a batch may end after one that is stored for good
        stored = len(db) - 200
        done = int(stored == len(records))
        assert done or stored % BATCH == 0, stored
        assert {1000 + i for i in range(stored)} <= set(db.ids())
        assert db.search(first[7], k=1)[0].id == 7
        assert db.check()
        db.upsert({"id": 5, "vector": more[0], "n": 5})
        assert db.search(more[0], k=2)[0].id in (5, 1000)
        return done

    calls: dict[str, Callable[[], Any]] = {
        "add": lambda: db.add(records, batch=BATCH),
        "search": lambda: [db.search(row, k=150, where="n >= 0") for row in more[:200]],
        "compact": db.compact,
    }
    return Case(calls[act], changes)


CASES: dict[str, Callable[[Path], Case]] = {
    "index, add": lambda folder: index_case(30_000, "add", folder / "a"),
    "index, add to i8 codes": lambda folder: index_case(30_000, "add", folder / "a", codes="i8"),
    "index, add to a flat one": lambda folder: index_case(200_000, "add", folder / "a", kind="flat"),
    "index, search": lambda folder: index_case(40_000, "search", folder / "a"),
    "index, compact": lambda folder: index_case(10, "compact", folder / "a", 8000),
    "index, save": lambda folder: index_case(10, "save", folder / "a", 8000),
    "index, load": lambda folder: index_case(10, "load", folder / "a", 8000),
    "index, map and add": lambda folder: index_case(3000, "map", folder / "a", 8000),
    "table, upsert": lambda _: table_case("upsert"),
    "table, look-up": lambda _: table_case("look-up"),
    "table, made": lambda _: table_case("made"),
    "encoder, encode": lambda _: encoder_case(),
    "collection, add": lambda folder: collection_case("add", folder),
    "collection, search": lambda folder: collection_case("search", folder),
    "collection, compact": lambda folder: collection_case("compact", folder),
}


SIZES = (0.1, 0.3, 1, 2, 4, 8, 16, 32, 64, 128)  # MB above what there is


def trial(what: str, megabytes: float) -> str:
    """How the call ended, from a process of its own; "broken: ..." where the object is not what it should be."""
    command = [sys.executable, "-X", "faulthandler", __file__, what, str(megabytes)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        said, errors = outlasted(process)
    if process.returncode != 0:
        return f"broken: exit {process.returncode}: {errors[-700:]}"
    return said.strip().splitlines()[-1]


def main() -> None:
    """One call under the limit."""
    what, megabytes = sys.argv[1], float(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        case = CASES[what](Path(folder))
        status = Path("/proc/self/status").read_text()
        has = next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmSize"))
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (has + int(megabytes * 2**20), hard))
        try:
            case.call()
            ended = "finished"
        except MemoryError as error:  # CapacityError is one; NumPy raises its own where it makes the array
            ended = type(error).__name__
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
        changed = case.changes()
    assert ended == "finished" or not changed, f"{ended}, and yet changed"
    print(ended, flush=True)


if __name__ == "__main__":
    main()
