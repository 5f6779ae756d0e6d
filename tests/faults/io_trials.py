"""The process whose changes to files fail: ``io_trials.py FOLDER WHAT N KIND``, with failing_io preloaded.

WHAT is of WORK, KIND as in failing_io.c; N = 0 lets everything pass and counts. Prints what was acknowledged line by
line, then ``failed ERROR`` or ``finished``, then ``changes COUNT``.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

import semblance as sb

D = 8


def rows(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, D)).astype(np.float32)


def say(*words: object) -> None:
    print(*words, flush=True)


def save_index(folder: Path) -> None:
    """Replace a saved index by a larger one, twice, and compact between."""
    index = sb.Index.load(folder / "a.sb")
    for turn in (1, 2):
        index.add(rows(40, turn))
        index.remove(index.ids()[:3])
        index.save(folder / "a.sb")
        say("saved", len(index))
        index.compact()


def use_collection(folder: Path) -> None:
    """Add, replace, remove, save and compact; each is acknowledged when it has returned."""
    db = sb.Collection.open(folder / "items.db")
    try:
        for turn in (1, 2):
            first = 1000 * turn
            db.add([{"id": first + i, "vector": row, "turn": turn} for i, row in enumerate(rows(5, turn))])
            say("add", first)
            db.upsert({"id": first, "vector": rows(1, 50 + turn)[0], "turn": -turn})
            say("upsert", first)
            db.remove(first + 1)
            say("remove", first)
            db.checkpoint()
            say("checkpoint", first)
        db.compact()
        say("compact", 0)
    finally:
        db.close()


def save_table(folder: Path) -> None:
    """Replace a saved table by one with two more keys, twice."""
    table = sb.EmbeddingTable.load(folder / "a.sb")
    for turn in (1, 2):
        with table.writer() as writer:
            writer.upsert([100 * turn, 100 * turn + 1], rows(2, turn))
        table.save(folder / "a.sb")
        say("saved", len(table))


def save_encoder(folder: Path) -> None:
    """Replace a saved encoder by the same one, twice."""
    encoder = sb.Encoder(folder / "a.sb")
    for turn in (1, 2):
        encoder.save(folder / "a.sb")
        say("saved", turn)


WORK: dict[str, Callable[[Path], None]] = {
    "index": save_index, "table": save_table, "encoder": save_encoder, "collection": use_collection,
}  # fmt: skip


def main() -> None:
    """Work under the fault."""
    folder, what, n, kind = Path(sys.argv[1]).resolve(), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    preloaded = ctypes.CDLL(None)
    preloaded.fault_arm(str(folder).encode(), ctypes.c_long(n or 1 << 40), kind)
    try:
        WORK[what](folder)
        say("finished")
    except sb.Error as error:
        say("failed", type(error).__name__, str(error).replace("\n", " "))
    say("changes", preloaded.fault_disarm())


if __name__ == "__main__":
    main()
