"""Saves and collections whose n-th write, sync, rename or cut fails, stays short, or is the process's last act."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from harness import outlasted
from io_trials import D, rows
from victims import TEXTS, VICTIMS

import semblance as sb

HERE = Path(__file__).parent
SHORT, KILL, LASTING = -1, -2, 1 << 16
KINDS = {
    "I/O error": errno.EIO, "I/O errors": errno.EIO | LASTING, "disk full": errno.ENOSPC | LASTING,
    "read-only": errno.EROFS | LASTING, "quota": errno.EDQUOT, "short write": SHORT, "kill": KILL,
}  # fmt: skip


def build(to: Path) -> Path | None:
    """The library to preload; None where this system has no C compiler or is no Linux."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        return None
    made = to / "failing_io.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", made, HERE / "failing_io.c", "-ldl"], check=True)
    return made


@dataclass
class IoTally:
    """How the trials ended, and every one that broke a promise."""

    outcomes: Counter[str] = field(default_factory=Counter)
    bad: list[str] = field(default_factory=list)


def prepare(folder: Path, what: str) -> None:
    """The state before: an index of 60 rows, a table of 20 keys, an encoder, or a collection of 20 records."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    if what == "index":
        sb.Index.build(rows(60, 0), max_degree=8, ef_construction=40).save(folder / "a.sb")
    elif what == "table":
        sb.EmbeddingTable.from_dense(rows(20, 0), keys=np.arange(20)).save(folder / "a.sb")
    elif what == "encoder":
        VICTIMS["encoder"].make(folder / "a.sb")
    else:
        with sb.Collection.open(folder / "items.db", dim=D, indexed=("turn",)) as db:
            db.add([{"id": i, "vector": row, "turn": 0} for i, row in enumerate(rows(20, 0))])


def trial(library: Path, folder: Path, what: str, n: int, kind: int) -> tuple[list[str], int, str]:
    """(lines said, exit status, stderr) of one process."""
    environment = {**os.environ, "LD_PRELOAD": str(library), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-W", "ignore", HERE / "io_trials.py", folder, what, str(n), str(kind)]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        said, errors = outlasted(process)
    return said.splitlines(), process.returncode, errors


def broken(folder: Path, what: str, said: Sequence[str]) -> str:
    """What promise the files break, given what was acknowledged; "" for none."""
    try:
        return BROKEN[what](folder, said)
    except sb.Error as error:
        return f"{type(error).__name__}: {error}"


def _broken_index(folder: Path, said: Sequence[str]) -> str:
    index = sb.Index.load(folder / "a.sb")
    sizes = [60, 97, 134]
    saved = sum(line.startswith("saved") for line in said)
    if len(index) not in sizes[saved : saved + 2]:
        return f"{len(index)} rows after {saved} saves"
    if not index.check().ok:
        return "check"
    hits = index.search(index.get(index.ids()[-3:]), 1, exact=True)
    return "" if (hits.ids[:, 0] == index.ids()[-3:]).all() else "answers"


def _broken_collection(folder: Path, said: Sequence[str]) -> str:
    done = {(line.split()[0], int(line.split()[1])) for line in said if line.split()[0] in ("add", "upsert", "remove")}
    with sb.Collection.open(folder / "items.db") as db:
        ids = set(db.ids())
        if not set(range(20)) <= ids:
            return "old records are gone"
        for first in (1000, 2000):
            have = {i - first for i in ids if first <= i < first + 1000}
            if ("remove", first) in done and have != {0, 2, 3, 4}:
                return f"{have} after an acknowledged remove"
            if ("add", first) in done and have not in ({0, 1, 2, 3, 4}, {0, 2, 3, 4}):
                return f"{have} after an acknowledged add"
            if have not in (set(), {0, 1, 2, 3, 4}, {0, 2, 3, 4}):
                return f"half a change: {have}"
            if ("upsert", first) in done:
                hit = db.search(rows(1, 50 + first // 1000)[0], k=1)[0]
                if hit.id != first or hit.record["turn"] != -first // 1000:
                    return "an acknowledged upsert is gone"
        report = db.check()
        return "" if report else f"check: {report.problems}"


def _broken_table(folder: Path, said: Sequence[str]) -> str:
    table = sb.EmbeddingTable.load(folder / "a.sb")
    saved = sum(line.startswith("saved") for line in said)
    turns = sum(100 * turn in table for turn in (1, 2))
    if turns not in (saved, saved + 1) or len(table) != 20 + 2 * turns:
        return f"{len(table)} keys after {saved} saves"
    wanted = np.concatenate([rows(20, 0), *(rows(2, turn) for turn in range(1, turns + 1))])
    keys = [*range(20), *(100 * turn + i for turn in range(1, turns + 1) for i in (0, 1))]
    return "" if np.abs(table.lookup(keys) - wanted).max() < 0.05 else "answers"


def _broken_encoder(folder: Path, said: Sequence[str]) -> str:
    fresh = folder.parent / "fresh.sb"
    if not fresh.exists():
        VICTIMS["encoder"].make(fresh)
    same = np.array_equal(sb.Encoder(folder / "a.sb").encode(TEXTS), sb.Encoder(fresh).encode(TEXTS))
    return "" if same else "answers"


BROKEN: dict[str, Callable[[Path, Sequence[str]], str]] = {
    "index": _broken_index, "table": _broken_table, "encoder": _broken_encoder, "collection": _broken_collection,
}  # fmt: skip


def io_trials(what: str, library: Path, folder: Path, step: int = 1, kinds: Sequence[str] = tuple(KINDS)) -> IoTally:
    """A fault of every kind at every ``step``-th change to a file."""
    tally = IoTally()
    prepare(folder, what)
    said, _, errors = trial(library, folder, what, 0, errno.EIO)
    assert said[-2:-1] == ["finished"], (said, errors)
    changes = int(said[-1].split()[1])
    assert changes > 5
    for kind in kinds:
        for n in range(1, changes + 1, step):
            prepare(folder, what)
            said, status, errors = trial(library, folder, what, n, KINDS[kind])
            if kind == "kill":
                ended = "killed" if status == -9 else f"exit {status}"
            elif status != 0 or "Traceback" in errors:
                ended = f"exit {status}: {errors[-300:]}"
            else:
                ended = said[-2].split()[0]
            wrong = broken(folder, what, said) or ("" if ended in ("killed", "failed", "finished") else ended)
            tally.outcomes["broken" if wrong else ended] += 1
            if wrong:
                tally.bad.append(f"{what}: {kind} at change {n} of {changes} ({ended}): {wrong}")
    return tally
