"""The SQLite side of a collection: connections, transactions, and every statement."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
import urllib.parse
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from ..errors import ArgumentError, CapacityError, Error, FormatError, UnsupportedError
from . import schema
from .records import RecordId, Row
from .schema import Settings
from .where import FUNCTIONS, Condition

BUSY_SECONDS = 60.0
KEPT_CHECKPOINTS = 16

_READ_ACTIONS = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_TRANSACTION}
_READ_FUNCTIONS = FUNCTIONS | {"json_extract", "json_each", "bm25", "match", "like", "glob", "count", "max"}


_READ_PRAGMAS = {"data_version", "integrity_check"}  # the first is FTS5's


class BusyError(Error, TimeoutError):
    """Another process held the database's write lock for longer than the call waits; nothing was changed."""


@contextlib.contextmanager
def translated(path: str) -> Iterator[None]:
    """Turn SQLite's errors into the tree of `semblance.errors`."""
    try:
        yield
    except sqlite3.Error as error:
        raise _translation(path, error) from error
    except UnicodeDecodeError as error:  # SQLite names a damaged schema in the schema's own words
        raise FormatError(f"{path}: expected a whole SQLite database, got text that is no UTF-8: {error}") from error


@contextlib.contextmanager
def _stored(what: str) -> Iterator[None]:
    """Values come out of the file as they were put in, unless it is damaged: SQLite itself has no checksums."""
    try:
        yield
    except (TypeError, ValueError, OverflowError) as error:
        if isinstance(error, Error):
            raise
        raise FormatError(f"{what}: expected what a collection stores, got {error}") from error


def _translation(path: str, error: sqlite3.Error) -> Error:
    text = str(error)
    if "locked" in text:
        return BusyError(f"{path}: expected the write lock within {BUSY_SECONDS:.0f} s, got {text}")
    if "full" in text or "too big" in text:
        return CapacityError(f"{path}: expected room for the change, got {text}")
    if "readonly" in text or "unable to open" in text or "disk I/O" in text:
        return ArgumentError(f"{path}: expected a file that can be opened and written, got {text}")
    if "no such module" in text or "no such function" in text:
        return UnsupportedError(f"{path}: expected an SQLite with FTS5 and JSON, got {sqlite3.sqlite_version}: {text}")
    whole = isinstance(error, sqlite3.OperationalError) and "decode" not in text and "malformed" not in text
    if isinstance(error, sqlite3.DatabaseError) and not whole:
        return FormatError(f"{path}: expected a whole SQLite database, got {text}")
    return Error(f"{path}: {text}")


class Store:
    """One SQLite file: a writing connection behind a lock, and a pool of connections that can only read."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._write_lock = threading.Lock()
        self._writer: sqlite3.Connection | None = None
        self._readers: list[sqlite3.Connection] = []
        self._pool_lock = threading.Lock()
        self._closed = False
        self.settings: Settings | None = None
        if os.path.exists(path):
            if os.path.isdir(path):
                raise ArgumentError(f"path: expected a database file, got the folder {path!r}")
            with translated(path), self._connected() as connection:
                if not schema.is_new(connection, path):
                    self.settings = schema.load_settings(connection, path)

    def create(self, settings: Settings, indexed: tuple[str, ...]) -> None:
        """Make the tables, unless another process was faster; then take what it made."""
        folder = os.path.dirname(os.path.abspath(self.path))
        if not os.path.isdir(folder):
            raise ArgumentError(f"path: expected an existing folder, got {folder!r}")
        with self.writing() as connection:
            if schema.is_new(connection, self.path):
                schema.create(connection, settings)
                schema.add_columns(connection, settings, indexed)
                self.settings = settings
            else:
                self.settings = schema.load_settings(connection, self.path)
            connection.execute("COMMIT")

    def add_columns(self, indexed: tuple[str, ...]) -> None:
        """Index more fields of a collection that exists."""
        if self.settings is None or set(indexed) <= set(self.settings.indexed):
            return
        with self.writing() as connection:
            settings = schema.load_settings(connection, self.path)
            schema.add_columns(connection, settings, indexed)
            connection.execute("COMMIT")
            self.settings = settings

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Hold the file's write lock in a transaction; what the caller has not committed at the end is rolled back."""
        with translated(self.path), self._write_lock:
            connection = self._writing_connection()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Hold one snapshot of the file, on a connection that cannot write."""
        with translated(self.path):
            connection = self._take_reader()
            try:
                connection.execute("BEGIN")
                yield connection
            finally:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                self._return_reader(connection)

    def vacuum(self) -> None:
        """Write the file anew without free pages, and empty the write-ahead log."""
        with translated(self.path), self._write_lock:
            connection = self._writing_connection()
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close every connection; one that is in use is closed when it is returned."""
        with self._write_lock, self._pool_lock:
            self._closed = True
            for connection in (*self._readers, *([self._writer] if self._writer else [])):
                connection.close()
            self._readers, self._writer = [], None

    def __del__(self) -> None:
        for connection in (*getattr(self, "_readers", ()), getattr(self, "_writer", None)):
            if connection is not None:
                connection.close()

    def _check_open(self) -> None:
        if self._closed:
            raise ArgumentError(f"{self.path}: expected an open collection, got a closed one")

    def _writing_connection(self) -> sqlite3.Connection:
        self._check_open()
        if self._writer is None:
            self._writer = self._connect()
            self._writer.execute("PRAGMA journal_mode = WAL")
            self._writer.execute("PRAGMA synchronous = FULL")  # a commit that returned survives power loss
            self._writer.execute("PRAGMA secure_delete = FAST")  # zeros over deleted content; VACUUM for free pages
        return self._writer

    def _take_reader(self) -> sqlite3.Connection:
        with self._pool_lock:
            self._check_open()
            if self._readers:
                return self._readers.pop()
        connection = self._connect()
        connection.execute("PRAGMA query_only = ON")
        connection.set_authorizer(_authorize)
        return connection

    def _return_reader(self, connection: sqlite3.Connection) -> None:
        with self._pool_lock:
            if self._closed:
                connection.close()
            else:
                self._readers.append(connection)

    def _connect(self) -> sqlite3.Connection:
        uri = "file:" + urllib.parse.quote(os.path.abspath(self.path))
        connection = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA cell_size_check = ON")  # damage is found where it is read
        return connection

    @contextlib.contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        connection = self._connect()
        try:
            yield connection
        finally:
            connection.close()


def _authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    """Second line of defence behind `compile_where`: only reading, only listed functions."""
    allowed = action in _READ_ACTIONS
    allowed |= action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in _READ_FUNCTIONS
    allowed |= action == sqlite3.SQLITE_PRAGMA and first in _READ_PRAGMAS
    # SQLite asks so when it declares the virtual tables json_each and words; query_only keeps it from being written.
    allowed |= action == sqlite3.SQLITE_UPDATE and first == "sqlite_master"
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY


# ---- statements: each takes the connection of a transaction --------------------------------------------------------


def sequence_of(connection: sqlite3.Connection) -> int:
    """Return the number of the last change in this snapshot."""
    with _stored("clock"):
        return int(connection.execute("SELECT sequence FROM clock").fetchone()[0])


def keys_of(connection: sqlite3.Connection, ids: Sequence[RecordId]) -> dict[RecordId, int]:
    """Return the keys of those ids that exist."""
    sql = "SELECT id, key FROM records WHERE id IN (SELECT value FROM json_each(?))"
    return dict(connection.execute(sql, (json.dumps(ids),)))


def put(connection: sqlite3.Connection, rows: Sequence[Row], vectors: np.ndarray) -> np.ndarray:
    """Insert or replace records; return their keys, int64 (n,)."""
    existing = keys_of(connection, [row.id for row in rows])
    highest = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'records'").fetchone()
    key, sequence, keys, records, blobs = (highest[0] if highest else 0), sequence_of(connection), [], [], []
    for row, vector in zip(rows, vectors, strict=True):
        if row.id not in existing:
            key += 1
        sequence += 1
        keys.append(existing.get(row.id, key))
        records.append((keys[-1], row.id, row.text, row.fields, sequence))
        blobs.append((keys[-1], vector.astype("<f4", copy=False).tobytes()))
    connection.executemany(
        "INSERT INTO records(key, id, text, fields, sequence) VALUES (?, ?, ?, ?, ?) ON CONFLICT(key) DO UPDATE "
        "SET text = excluded.text, fields = excluded.fields, sequence = excluded.sequence",
        records,
    )
    connection.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", blobs)
    connection.execute("UPDATE clock SET sequence = ?", (sequence,))
    return np.array(keys, np.int64)


def delete(connection: sqlite3.Connection, keys: Iterable[int]) -> None:
    """Delete records for good, leaving tombstones that hold nothing but the key."""
    sequence, tombstones = sequence_of(connection), []
    for key in keys:
        sequence += 1
        tombstones.append((sequence, key))
    connection.executemany("DELETE FROM records WHERE key = ?", [(key,) for _, key in tombstones])
    connection.executemany("INSERT INTO removed VALUES (?, ?)", tombstones)
    connection.execute("UPDATE clock SET sequence = ?", (sequence,))


def changes_since(connection: sqlite3.Connection, sequence: int, dim: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (keys, vectors f32 (n, dim)) of what was added or replaced after a sequence, oldest first."""
    sql = "SELECT key, vector FROM records JOIN vectors USING (key) WHERE sequence > ? ORDER BY sequence"
    cursor = connection.execute(sql, (sequence,))
    while rows := cursor.fetchmany(4096):
        with _stored("vectors"):
            some = np.array([key for key, _ in rows], np.int64), _matrix(rows, dim)
        yield some


def vectors_of(connection: sqlite3.Connection, keys: Iterable[int], dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (keys, vectors f32 (n, dim)) of those keys that exist."""
    sql = "SELECT key, vector FROM vectors WHERE key IN (SELECT value FROM json_each(?))"
    rows = connection.execute(sql, (json.dumps([int(key) for key in keys]),)).fetchall()
    with _stored("vectors"):
        return np.array([key for key, _ in rows], np.int64), _matrix(rows, dim)


def _matrix(rows: Sequence[tuple[int, bytes]], dim: int) -> np.ndarray:
    data = b"".join(vector for _, vector in rows)
    if len(data) != len(rows) * dim * 4:
        raise FormatError(f"vectors: expected {dim} float32 a record, got {len(data)} bytes for {len(rows)} records")
    return np.frombuffer(data, "<f4").reshape(len(rows), dim)


def removed_since(connection: sqlite3.Connection, sequence: int) -> np.ndarray | None:
    """Return the keys removed after a sequence, or None where tombstones that old are gone."""
    with _stored("clock"):
        if sequence < connection.execute("SELECT removed_below FROM clock").fetchone()[0]:
            return None
    return _keys(connection.execute("SELECT key FROM removed WHERE sequence > ?", (sequence,)))


def all_keys(connection: sqlite3.Connection) -> np.ndarray:
    """Return every key, ascending, int64 (n,)."""
    return _keys(connection.execute("SELECT key FROM records ORDER BY key"))


def matching_keys(connection: sqlite3.Connection, condition: Condition) -> np.ndarray:
    """Return the keys of the records that fulfil a condition, int64 (n,); ArgumentError where SQLite refuses it."""
    sql = f"SELECT records.key FROM records WHERE {condition.sql}"
    try:
        connection.execute(sql + " LIMIT 0", condition.values)  # prepares everything, runs nothing
    except (sqlite3.Error, OverflowError) as error:
        raise ArgumentError(f"where: expected an SQL condition over the record's fields, got {error}") from error
    try:
        return _keys(connection.execute(sql, condition.values))
    except sqlite3.OperationalError as error:
        if "overflow" in str(error) or "too complex" in str(error) or "too big" in str(error):
            raise ArgumentError(f"where: expected a condition that can be computed, got {error}") from error
        raise


def _keys(cursor: sqlite3.Cursor) -> np.ndarray:
    with _stored("keys"):
        return np.fromiter((row[0] for row in cursor), np.int64)


def word_hits(connection: sqlite3.Connection, match: str, k: int, condition: Condition | None) -> list[int]:
    """Return the keys of the k best records by BM25, best first."""
    sql, values = "SELECT words.rowid FROM words WHERE words MATCH ?", [match]
    if condition is not None:
        sql += f" AND words.rowid IN (SELECT records.key FROM records WHERE {condition.sql})"
        values += condition.values
    return [row[0] for row in connection.execute(sql + " ORDER BY words.rank LIMIT ?", (*values, k))]


def records_by_key(connection: sqlite3.Connection, keys: Iterable[int]) -> dict[int, dict[str, Any]]:
    """Return the records as the user gave them, without their vectors; FormatError where one is not there."""
    sql = "SELECT key, id, text, fields FROM records WHERE key IN (SELECT value FROM json_each(?))"
    wanted, found = [int(key) for key in keys], {}
    for key, record_id, text, fields in connection.execute(sql, (json.dumps(wanted),)):
        head = {"id": record_id} if text is None else {"id": record_id, "text": text}
        with _stored(f"record {key}"):
            found[key] = {**head, **json.loads(fields)}
    for key in wanted:
        if key not in found:
            raise FormatError(f"records: expected one under key {key}, as the index has it, got none (damaged)")
    return found


def add_checkpoint(connection: sqlite3.Connection, stamp: str) -> None:
    """Make the stamp of an index file known, before that file is written."""
    connection.execute("INSERT INTO checkpoints(stamp) VALUES (?)", (stamp,))
    connection.execute(
        "DELETE FROM checkpoints WHERE number <= (SELECT max(number) FROM checkpoints) - ?", (KEPT_CHECKPOINTS,)
    )


def is_checkpoint(connection: sqlite3.Connection, stamp: str) -> bool:
    """Return whether an index file with this stamp belongs to this database's history."""
    return connection.execute("SELECT 1 FROM checkpoints WHERE stamp = ?", (stamp,)).fetchone() is not None


def prune_removed(connection: sqlite3.Connection, sequence: int) -> None:
    """Drop the tombstones that the saved index file no longer needs."""
    connection.execute("DELETE FROM removed WHERE sequence <= ?", (sequence,))
    connection.execute("UPDATE clock SET removed_below = max(removed_below, ?)", (sequence,))
