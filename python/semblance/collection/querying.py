"""The half of a collection that asks: searches, look-ups, figures, all on one snapshot."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from sqlite3 import Connection
from typing import Any

import numpy as np

from ..arrays import flag
from ..errors import ArgumentError, NotFoundError
from . import store
from .checking import CheckReport, check_collection
from .encoding import EncoderSlot
from .live import LiveIndex
from .lock import ReadersWriterLock
from .records import RecordId, checked_id, checked_ids, missing_ids
from .searching import Hit, Searcher
from .store import Store
from .where import Where, compile_where

_SNAPSHOT_TRIES = 3


class Queryable:
    """Searches over records and index. Made by `Collection` alone."""

    def __init__(self, store_: Store, encoder: EncoderSlot, live: LiveIndex) -> None:
        assert store_.settings is not None
        self._store = store_
        self._settings = store_.settings
        self._encoder = encoder
        self._live = live
        self._lock = ReadersWriterLock()
        self._searcher = Searcher(self._settings, encoder, live)
        self._closed = False

    def search(
        self,
        query: Any,
        k: int = 10,
        where: Where | None = None,
        *,
        hybrid: bool = False,
        ef: int | None = None,
    ) -> Any:
        """Return the best records for a text or a vector, best first.

        Parameters
        ----------
        query : str or array (d,); or a list of str or array (q, d)
            One query gives one list of hits, several give a list of lists.
        k : int
            Hits wanted; fewer come back where fewer records fulfil the condition.
        where : str or (str, values), optional
            An SQL condition over the record's own fields, such as ``"year >= 1990 AND genre = 'drama'"`` or
            ``("year >= ? AND genre IN ?", (1990, ["drama", "crime"]))``. Text stands in single quotes; a field whose
            name is not a plain word in double quotes; ``director.name`` is a field inside a field;
            ``contains(genres, 'drama')`` looks into a list. SQLite's rules of comparison hold: a missing field is NULL.
        hybrid : bool
            Fuse the vector hits with BM25 hits of the query's words by reciprocal rank; needs text queries.
        ef : int, optional
            Beam width of the index's search.

        Returns
        -------
        list of Hit, or list of list of Hit
            Scores: cosine or inner product, or minus the squared distance; of a hybrid search the fused rank score.

        Raises
        ------
        ArgumentError
            k below 1, a query of wrong length or not finite, a condition that is not one (nothing of it is run).

        Notes
        -----
        Cost: a filter is one SQL query, remembered until the next change. Source of the fusion: Cormack, Clarke and
        Buettcher, Reciprocal rank fusion outperforms Condorcet, SIGIR 2009.
        """
        self._check_open()
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
            raise ArgumentError(f"k: expected an integer of at least 1, got {k!r}")
        hybrid = flag(hybrid, "hybrid")
        texts, vectors, single = self._searcher.queries(query)
        if hybrid and texts is None:
            raise ArgumentError("query: expected text for a hybrid search, got a vector")
        condition = None if where is None else compile_where(where, self._settings.columns)

        def run(connection: Connection) -> list[list[Hit]]:
            fused = texts if hybrid else None
            return self._searcher.run(connection, vectors, fused, k=int(k), condition=condition, ef=ef)

        hits = self._on_snapshot(run)
        return hits[0] if single else hits

    def get(self, ids: Any) -> Any:
        """Return the record of an id, or the records of several in their order.

        Parameters
        ----------
        ids : str or int, or iterable of them
            The records wanted.

        Returns
        -------
        dict, or list of dict
            As they were given, without vectors.

        Raises
        ------
        NotFoundError
            An id that does not exist.
        """
        wanted = checked_ids(ids)
        with self._store.reading() as connection:
            keys = store.keys_of(connection, wanted)
            if len(keys) < len(set(wanted)):
                raise NotFoundError(f"ids: expected ids that exist, got {missing_ids(wanted, keys)}")
            records = store.records_by_key(connection, keys.values())
        found = [records[keys[record_id]] for record_id in wanted]
        return found[0] if isinstance(ids, str | int | np.integer) else found

    def vectors(self, ids: RecordId | Iterable[RecordId]) -> np.ndarray:
        """Return the vectors of ids, as they were given or encoded.

        Parameters
        ----------
        ids : str or int, or iterable of them
            The records wanted.

        Returns
        -------
        numpy.ndarray
            float32 (n, d), in the order of the ids.

        Raises
        ------
        NotFoundError
            An id that does not exist.
        """
        wanted = checked_ids(ids)
        with self._store.reading() as connection:
            keys = store.keys_of(connection, wanted)
            if len(keys) < len(set(wanted)):
                raise NotFoundError(f"ids: expected ids that exist, got {missing_ids(wanted, keys)}")
            found, vectors = store.vectors_of(connection, keys.values(), self._settings.dim)
        place = {int(key): at for at, key in enumerate(found)}
        return vectors[[place[keys[record_id]] for record_id in wanted]]

    def ids(self) -> list[RecordId]:
        """Return all ids.

        Returns
        -------
        list of str or int
            In the order in which they were first added.
        """
        with self._store.reading() as connection:
            return [row[0] for row in connection.execute("SELECT id FROM records ORDER BY key")]

    def __len__(self) -> int:
        with self._store.reading() as connection:
            return int(connection.execute("SELECT count(*) FROM records").fetchone()[0])

    def __contains__(self, record_id: object) -> bool:
        with self._store.reading() as connection:
            return bool(store.keys_of(connection, [checked_id(record_id)]))

    @property
    def dim(self) -> int:
        """Dimensions d of the vectors."""
        return self._settings.dim

    @property
    def metric(self) -> str:
        """ "cosine", "ip" or "l2"."""
        return self._settings.metric

    @property
    def indexed(self) -> tuple[str, ...]:
        """Fields with a column and an SQL index."""
        return tuple(self._settings.indexed)

    def stats(self) -> dict[str, Any]:
        """Return counts, sizes and states.

        Returns
        -------
        dict
            Records, settings, sequence numbers (of the database, the index in memory, the index file), bytes of the
            files, and the index's own statistics.
        """
        with self._store.reading() as connection:
            sequence = store.sequence_of(connection)
        files = {"database": self._store.path, "wal": self._store.path + "-wal", "index": self._live.path}
        with self._lock.shared():
            return {
                "records": len(self),
                "dim": self.dim,
                "metric": self.metric,
                "encoder": self._settings.encoder,
                "indexed": list(self.indexed),
                "sequence": sequence,
                "index_sequence": self._live.sequence,
                "saved_sequence": self._live.saved_sequence,
                "bytes": {name: os.path.getsize(file) for name, file in files.items() if os.path.exists(file)},
                "index": self._live.index.stats(),
            }

    def check(self) -> CheckReport:
        """Compare database, words, vectors, index and index file with each other.

        Returns
        -------
        CheckReport
            True where nothing disagrees; ``problems`` names what does.

        Notes
        -----
        Cost: reads everything once.
        """
        report: CheckReport = self._on_snapshot(lambda connection: check_collection(connection, self._live))
        return report

    def _on_snapshot(self, run: Callable[[Connection], Any]) -> Any:
        """Run on a snapshot of the database while the index holds exactly that state."""
        for _ in range(_SNAPSHOT_TRIES):
            with self._lock.shared(), self._store.reading() as connection:
                if self._live.sequence == store.sequence_of(connection):
                    return run(connection)
            with self._lock.exclusive(), self._store.reading() as connection:
                self._live.catch_up(connection)
        with self._lock.exclusive(), self._store.reading() as connection:  # others write all the time
            self._live.catch_up(connection)
            return run(connection)

    def _check_open(self) -> None:
        if self._closed:
            raise ArgumentError(f"{self._store.path}: expected an open collection, got a closed one")

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{len(self)} records"
        return f"<Collection {self._store.path!r}: {state}, {self.dim} dimensions, {self.metric}>"
