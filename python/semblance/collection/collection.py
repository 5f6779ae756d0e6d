"""`Collection`: records in SQLite, their vectors in an index, found by meaning, by words and by condition."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from sqlite3 import Connection
from types import TracebackType
from typing import Any

import numpy as np

from ..arrays import flag
from ..errors import ArgumentError, Error, NotFoundError
from . import store
from .encoding import EncoderSlot, TextEncoder, load_encoder
from .live import LiveIndex, new_stamp
from .options import check_same, checked_indexed, new_settings
from .progress import Progress, ProgressOption
from .querying import Queryable
from .records import (
    RecordId,
    Row,
    check_direction,
    check_distinct,
    check_new,
    checked_ids,
    checked_row,
    is_scalar,
    missing_ids,
)
from .store import Store

_log = logging.getLogger("semblance.collection")

_UNSAVED_CHANGES = 100_000  # at least so many changes before the index file is written on the way


class Collection(Queryable):
    """Records that are found by meaning; open one with `Collection.open`.

    One SQLite file holds the records, their vectors (float32, as given or encoded) and the words; one index file beside
    it (``PATH.index``) spares building the index at opening. SQLite has the last word: what `add` has returned for
    survives a kill at any later moment, and an index file that is missing, damaged or behind is rebuilt or caught up.

    Threads may share one object. Several processes may open one file: readers see a consistent snapshot, each search
    first replays what other processes changed, and writers take turns by SQLite's lock.

    Examples
    --------
    >>> import os, tempfile
    >>> import semblance as sb
    >>> path = os.path.join(tempfile.mkdtemp(), "points.db")
    >>> with sb.Collection.open(path, dim=2) as db:
    ...     db.add([{"id": "east", "vector": [1.0, 0.0], "hue": 0}, {"id": "north", "vector": [0.0, 1.0], "hue": 90}])
    ...     [hit.id for hit in db.search([0.9, 0.1], k=1)]
    ...     [hit.id for hit in db.search([0.9, 0.1], where="hue > 10")]
    2
    ['east']
    ['north']
    """

    def __init__(self, store_: Store, encoder: EncoderSlot, live: LiveIndex) -> None:
        super().__init__(store_, encoder, live)
        self._wrote = False

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        encoder: TextEncoder | str | None = None,
        dim: int | None = None,
        metric: str | None = None,
        indexed: Sequence[str] = (),
        *,
        index_options: Mapping[str, Any] | None = None,
    ) -> Collection:
        """Open a collection, or make one where there is no file yet.

        Parameters
        ----------
        path : str or PathLike
            The SQLite file; the index file goes to the same name with ``.index`` appended.
        encoder : object with ``encode``, ``dim`` and ``fingerprint``, or str, or None
            Makes vectors of texts. A str is what `semblance.Encoder` takes; None is the encoder that the collection was
            made with and, for a new one without ``dim``, the embedded default.
        dim : int, optional
            Dimensions d of the vectors of a new collection without encoder.
        metric : {"cosine", "ip", "l2"}, optional
            Of a new collection; "cosine" unless given.
        indexed : sequence of str
            Fields that get a column and an SQL index of their own, now or at any later opening; ``where`` may use any
            field, and these fast. ``"director.name"`` is a field inside a field.
        index_options : mapping, optional
            Further arguments of `semblance.Index` for a new collection, such as ``{"codes": "f16"}``.

        Returns
        -------
        Collection
            Open, its index in memory equal to the records; close it, or use it as a context.

        Raises
        ------
        ArgumentError
            ``encoder``, ``dim`` or ``metric`` differ from what the collection was made with; a folder that is missing.
        FormatError
            The file is not a collection, is damaged, or is of a newer version.
        UnsupportedError
            Python's SQLite was built without FTS5.

        Notes
        -----
        Cost: one read of the index file and a replay of what it lacks, or building it from the records.
        """
        name = os.fspath(path)
        if not isinstance(name, str) or not name or "\0" in name:
            raise ArgumentError(f"path: expected a file name, got {path!r}")
        columns = checked_indexed(indexed)
        source = encoder if isinstance(encoder, str) else None
        given = load_encoder(source) if isinstance(encoder, str) else encoder
        if given is not None and not isinstance(given, TextEncoder):
            raise ArgumentError(f"encoder: expected encode, dim and fingerprint, got {type(given).__name__}")
        opened = Store(name)
        try:
            if opened.settings is None:
                given = load_encoder(None) if given is None and dim is None else given
                opened.create(new_settings(given, source, dim, metric, index_options), columns)
            assert opened.settings is not None
            check_same(opened.settings, dim, metric)
            opened.add_columns(columns)
            return cls._opened(opened, EncoderSlot(given, opened.settings))
        except BaseException:
            opened.close()
            raise

    @classmethod
    def _opened(cls, opened: Store, encoder: EncoderSlot) -> Collection:
        assert opened.settings is not None
        live = LiveIndex(opened.settings, opened.path + ".index")
        with opened.reading() as connection:
            live.open(connection)
        collection = cls(opened, encoder, live)
        if live.saved_sequence < 0 and live.sequence > 0:  # it was built anew: spare the next opening that
            collection._checkpoint_quietly()
        return collection

    # ---- changing ----------------------------------------------------------------------------------------------------

    def add(self, records: Any, *, batch: int = 1024, progress: ProgressOption = False) -> int:
        """Add new records.

        Parameters
        ----------
        records : dict or iterable of dict
            Each with an ``id`` (text or integer) that is new, ``text`` or ``vector`` or both, and any JSON fields.
        batch : int
            Records in one transaction. Up to this many, the call is one: all or nothing. Of more, each batch is stored
            for good when the next begins; a list is checked as a whole before the first, an iterator batch by batch.
        progress : bool or callable(done, total)
            True shows a bar; called after each batch, total is None for an iterator.

        Returns
        -------
        int
            How many were added. They are durable: they survive a kill or power loss at any later moment.

        Raises
        ------
        ArgumentError
            A record that is malformed, an id that exists, a vector of wrong length, not finite, or zero under cosine.
        """
        return self._put_all(records, batch, progress, replace=False)

    def upsert(self, records: Any, *, batch: int = 1024, progress: ProgressOption = False) -> int:
        """Add records, replacing those whose id exists wholly: fields, text and vector.

        Parameters
        ----------
        records : dict or iterable of dict
            As in `add`; where an id comes twice, the last one stays.
        batch, progress
            As in `add`.

        Returns
        -------
        int
            How many were taken, durable like those of `add`.

        Raises
        ------
        ArgumentError
            As in `add`, but for ids that exist.
        """
        return self._put_all(records, batch, progress, replace=True)

    def remove(self, ids: RecordId | Iterable[RecordId], *, strict: bool = False) -> int:
        """Delete records with their text, fields and vector.

        No search that starts after the call returns finds them, in this process or another. Their bytes are overwritten
        in the database; `compact` takes them out of the index file and of the write-ahead log.

        Parameters
        ----------
        ids : str, int, or iterable of them
            The records to delete.
        strict : bool
            True refuses ids that do not exist.

        Returns
        -------
        int
            How many existed.

        Raises
        ------
        ArgumentError
            Something that cannot be an id.
        NotFoundError
            With ``strict=True``, an id that does not exist; nothing is removed then.
        """
        wanted, strict = list(dict.fromkeys(checked_ids(ids))), flag(strict, "strict")
        with self._store.writing() as connection:
            existing = store.keys_of(connection, wanted)
            if strict and len(existing) < len(wanted):
                raise NotFoundError(f"ids: expected ids that exist, got {missing_ids(wanted, existing)}")
            if existing:
                keys = np.fromiter(existing.values(), np.int64)
                self._catch_up_index(connection)
                store.delete(connection, map(int, keys))
                self._commit(connection, keys, lambda: self._live.index.remove(keys))
            return len(existing)

    def checkpoint(self) -> None:
        """Write the index file, so that the next opening has nothing to catch up.

        Raises
        ------
        CapacityError
            No room for the file; the old one stays, the records are safe.
        ArgumentError
            The folder cannot be written, or the collection is closed.

        Notes
        -----
        Cost: one write of the index; a rebuild of it where removed and replaced rows outnumber the living ones.
        """
        self._check_open()
        stamp = new_stamp()
        with self._store.writing() as connection:
            store.add_checkpoint(connection, stamp)
            connection.execute("COMMIT")
        with self._lock.shared():
            if self._live.mostly_removed():
                self._live.index.compact()
            self._live.save(stamp)
            sequence = self._live.saved_sequence
        with self._store.writing() as connection:
            store.prune_removed(connection, sequence)
            connection.execute("COMMIT")

    def compact(self) -> None:
        """Give back the room of removed records, in memory and in the files; writers wait.

        Raises
        ------
        CapacityError
            No room for a second copy of the files; the old ones stay.

        Notes
        -----
        Cost: a rebuild of the index and one write of both files.
        """
        self._check_open()
        with self._lock.shared():
            self._live.index.compact()
        self._store.vacuum()
        self.checkpoint()

    def close(self) -> None:
        """Write the index file if this object changed something, and close the files. Twice is once.

        Notes
        -----
        An index file that cannot be written is a warning in the log, no error: the records are safe in SQLite.
        """
        if self._closed:
            return
        if self._wrote and self._live.saved_sequence != self._live.sequence:
            self._checkpoint_quietly()
        self._close_files()

    # ---- within ------------------------------------------------------------------------------------------------------

    def _put_all(self, records: Any, batch: int, progress: ProgressOption, *, replace: bool) -> int:
        self._check_open()
        if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
            raise ArgumentError(f"batch: expected an integer of at least 1, got {batch!r}")
        if isinstance(records, Mapping):
            records = [records]
        if isinstance(records, str | bytes) or not isinstance(records, Iterable) or is_scalar(records):
            raise ArgumentError(f"records: expected dicts, got {type(records).__name__}")
        rows: Iterator[Row] = (
            checked_row(record, f"records[{at}]", self._settings.dim) for at, record in enumerate(records)
        )
        total = len(records) if isinstance(records, Sequence) else None
        if total is not None:
            rows = iter(self._checked_together(list(rows), replace))
        done = 0
        with Progress(progress, total) as shown:
            while some := list(itertools.islice(rows, batch)):
                done += self._put(some, done, replace)
                shown.update(done)
        return done

    def _checked_together(self, rows: list[Row], replace: bool) -> list[Row]:
        """Refuse what a later batch would refuse, before the first is stored."""
        for at, row in enumerate(rows):
            check_direction(row, self.metric, f"records[{at}]")
        if not replace:
            check_distinct(rows)
            with self._store.reading() as connection:
                check_new(store.keys_of(connection, [row.id for row in rows]))
        return rows

    def _put(self, rows: list[Row], first: int, replace: bool) -> int:
        count = len(rows)
        if replace:
            rows = list({row.id: row for row in rows}.values())  # the last of an id wins
        else:
            check_distinct(rows)
        self._encode(rows, first)
        vectors = np.stack([row.vector for row in rows if row.vector is not None])
        with self._store.writing() as connection:
            if not replace:
                check_new(store.keys_of(connection, [row.id for row in rows]))
            self._catch_up_index(connection)
            keys = store.put(connection, rows, vectors)
            self._commit(connection, keys, lambda: self._live.index.upsert(vectors, keys))
        if self._live.sequence - self._live.saved_sequence > max(_UNSAVED_CHANGES, len(self._live.index)):
            self._checkpoint_quietly()
        return count

    def _encode(self, rows: list[Row], first: int) -> None:
        bare = [row for row in rows if row.vector is None]
        if bare:
            where = f"records[{first}:{first + len(rows)}]"
            encoded = self._encoder.encode([row.text or "" for row in bare], where)
            for row, vector in zip(bare, encoded, strict=True):
                row.vector = vector
        for at, row in enumerate(rows, first):
            check_direction(row, self.metric, f"records[{at}]")

    def _catch_up_index(self, connection: Connection) -> None:
        if self._live.sequence != store.sequence_of(connection):
            with self._lock.exclusive():
                self._live.catch_up(connection)

    def _commit(self, connection: Connection, keys: np.ndarray, change_index: Callable[[], object]) -> None:
        """Change the index and commit, with no search in between; whatever fails, both end up as they were."""
        sequence = store.sequence_of(connection)
        with self._lock.exclusive():
            try:
                change_index()
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                self._live.resync(connection, map(int, keys))
                raise
            self._live.sequence = sequence
            self._wrote = True

    def _checkpoint_quietly(self) -> None:
        try:
            self.checkpoint()
        except (Error, OSError) as error:  # the records are safe in SQLite; only the next opening takes longer
            _log.warning("%s: the index file was not written: %s", self._live.path, error)

    def _close_files(self) -> None:
        self._closed = True
        with self._lock.exclusive():
            self._store.close()

    def __enter__(self) -> Collection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        elif not self._closed:  # after Ctrl-C or an error, leave at once: the records are in SQLite
            self._close_files()
