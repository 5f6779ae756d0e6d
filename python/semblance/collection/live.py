"""The vector index in memory, kept equal to the database by the sequence of changes, and its file."""

from __future__ import annotations

import logging
import os
import secrets
import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import numpy as np

from ..errors import Error
from . import store
from .schema import Settings

_DEAD_ROWS = 1000

_log = logging.getLogger("semblance.collection")


class VectorIndex(Protocol):
    """What a collection asks of `semblance.Index`."""

    metadata: dict[str, str]
    dim: int
    metric: str

    def __len__(self) -> int: ...
    def add(self, vectors: np.ndarray, ids: np.ndarray) -> np.ndarray: ...
    def upsert(self, vectors: np.ndarray, ids: np.ndarray) -> np.ndarray: ...
    def remove(self, ids: np.ndarray) -> int: ...
    def get(self, ids: np.ndarray) -> np.ndarray: ...
    def ids(self) -> np.ndarray: ...
    def allow(self, ids: np.ndarray) -> Any: ...
    def search(self, queries: np.ndarray, k: int, *, ef: int | None, allowed: Any) -> tuple[np.ndarray, np.ndarray]: ...
    def compact(self) -> None: ...
    def check(self) -> Any: ...
    def stats(self) -> dict[str, Any]: ...
    def save(self, path: str, metadata: dict[str, str] | None = None) -> None: ...


def index_class() -> Any:
    """Return the class of the index; imported late, for it loads the native module."""
    from ..index import Index

    return Index


class LiveIndex:
    """An index and the sequence number of the last change it holds; every method wants the caller's lock."""

    def __init__(self, settings: Settings, path: str) -> None:
        self.settings = settings
        self.path = path
        self.index: VectorIndex = self._empty()
        self.sequence = 0  # -1: unknown, rebuild before use
        self.saved_sequence = -1

    def open(self, connection: sqlite3.Connection) -> None:
        """Load the index file where it belongs to this database, build the index from the records where not."""
        reason = self._load(connection)
        if reason is not None:
            if store.sequence_of(connection):
                level = logging.WARNING if os.path.exists(self.path) else logging.INFO
                _log.log(level, "%s: building the index from the records: %s", self.path, reason)
            self._build(connection)
        self.catch_up(connection)

    def catch_up(self, connection: sqlite3.Connection) -> None:
        """Replay what the snapshot has and the index lacks. Repeating a replay changes nothing."""
        target = store.sequence_of(connection)
        if self.sequence == target:
            return
        if self.sequence < 0:
            self._build(connection)
            return
        removed = store.removed_since(connection, self.sequence)
        if removed is None:  # tombstones this old are pruned: compare the sets
            removed = np.setdiff1d(self.index.ids(), store.all_keys(connection))
        if len(removed):
            self.index.remove(removed)
        for keys, vectors in store.changes_since(connection, self.sequence, self.settings.dim):
            self.index.upsert(vectors, keys)
        self.sequence = target

    def resync(self, connection: sqlite3.Connection, keys: Iterable[int]) -> None:
        """Make the index agree with the database about some keys, after a change that was broken off."""
        before, self.sequence = self.sequence, -1
        wanted = np.fromiter(keys, np.int64)
        self.index.remove(wanted)
        present, vectors = store.vectors_of(connection, wanted, self.settings.dim)
        if len(present):
            self.index.upsert(vectors, present)
        self.sequence = before

    def save(self, stamp: str) -> None:
        """Write the index file; its stamp must be known to the database already."""
        metadata = {"stamp": stamp, "sequence": str(self.sequence), "encoder": self.settings.encoder or ""}
        self.index.save(self.path, metadata=metadata)
        self.saved_sequence = self.sequence

    def mostly_removed(self) -> bool:
        """Return whether dead rows outnumber the living, so that a rebuild is worth its cost."""
        stats = self.index.stats()
        dead = int(stats["rows"]) - int(stats["live"])
        return dead > max(_DEAD_ROWS, int(stats["live"]))

    def file_problem(self) -> str | None:
        """Load the file anew and return what is wrong with it, or None."""
        try:
            index_class().load(self.path)
        except Error as error:
            return str(error)
        return None

    def _load(self, connection: sqlite3.Connection) -> str | None:
        """Load the file; return why it cannot be used, or None."""
        try:
            index: VectorIndex = index_class().load(self.path)
        except Error as error:
            return str(error)
        metadata = index.metadata
        if (index.dim, index.metric) != (self.settings.dim, self.settings.metric):
            return f"it holds {index.metric} vectors of {index.dim} dimensions"
        if metadata.get("encoder", "") != (self.settings.encoder or ""):
            return "its vectors come from another encoder"
        if not store.is_checkpoint(connection, metadata.get("stamp", "")):
            return "it belongs to another database, or to a later state of this one"
        sequence = _number(metadata)
        if not 0 <= sequence <= store.sequence_of(connection):
            return "it is of a later state of this database"
        self.index, self.sequence, self.saved_sequence = index, sequence, sequence
        return None

    def _build(self, connection: sqlite3.Connection) -> None:
        target, count = store.sequence_of(connection), len(store.all_keys(connection))
        keys, vectors, at = np.empty(count, np.int64), np.empty((count, self.settings.dim), np.float32), 0
        for some_keys, some_vectors in store.changes_since(connection, 0, self.settings.dim):
            keys[at : at + len(some_keys)], vectors[at : at + len(some_keys)] = some_keys, some_vectors
            at += len(some_keys)
        options = self.settings.index_options
        self.index = (
            index_class().build(vectors, keys, metric=self.settings.metric, **options) if count else self._empty()
        )
        self.sequence, self.saved_sequence = target, -1

    def _empty(self) -> VectorIndex:
        empty: VectorIndex = index_class()(
            self.settings.dim, metric=self.settings.metric, **self.settings.index_options
        )
        return empty


def new_stamp() -> str:
    """Return a name for an index file that no other has."""
    return secrets.token_hex(16)


def _number(metadata: Mapping[str, str]) -> int:
    try:
        return int(metadata.get("sequence", ""))
    except ValueError:
        return -1
