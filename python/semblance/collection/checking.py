"""Compare a collection's parts with each other."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field

import numpy as np

from . import store
from .live import LiveIndex


@dataclass
class CheckReport:
    """What was compared, and every disagreement; true where there is none."""

    records: int = 0
    problems: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return not self.problems


def check_collection(connection: sqlite3.Connection, live: LiveIndex) -> CheckReport:
    """Compare on one snapshot, which the index holds."""
    keys = store.all_keys(connection)
    report = CheckReport(records=len(keys))
    for check in (_check_database, _check_words, _check_vectors, _check_index):
        report.problems.extend(check(connection, live, keys))
    report.problems.extend(_check_file(live))
    return report


def _check_database(connection: sqlite3.Connection, live: LiveIndex, keys: np.ndarray) -> list[str]:
    rows = [row[0] for row in connection.execute("PRAGMA integrity_check")]
    return [] if rows == ["ok"] else [f"database: {row}" for row in rows]


def _check_words(connection: sqlite3.Connection, live: LiveIndex, keys: np.ndarray) -> list[str]:
    counted = connection.execute("SELECT count(*) FROM words_docsize").fetchone()[0]
    return [] if counted == len(keys) else [f"words: expected {len(keys)} records, got {counted}"]


def _check_vectors(connection: sqlite3.Connection, live: LiveIndex, keys: np.ndarray) -> list[str]:
    problems: list[str] = []
    seen = 0
    for some, vectors in store.changes_since(connection, 0, live.settings.dim):
        seen += len(some)
        bad = some[~np.isfinite(vectors).all(axis=1)]
        problems.extend(f"vectors: expected finite numbers, got others for key {key}" for key in bad)
    if seen != len(keys):
        problems.append(f"vectors: expected {len(keys)}, got {seen}")
    return problems


def _check_index(connection: sqlite3.Connection, live: LiveIndex, keys: np.ndarray) -> list[str]:
    held = np.sort(live.index.ids())
    if np.array_equal(held, keys):
        report = live.index.check()
        return [] if report.ok else [f"index: {report}"]
    missing, extra = len(np.setdiff1d(keys, held)), len(np.setdiff1d(held, keys))
    return [f"index: expected the records' keys, got {missing} missing and {extra} too many"]


def _check_file(live: LiveIndex) -> list[str]:
    if live.saved_sequence < 0:
        return []
    problem = live.file_problem()
    return [f"index file: {problem}"] if problem else []
