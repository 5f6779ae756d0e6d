"""How a table changes while it serves: generations, one after the other, each published whole."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from dataclasses import replace

from .._core import table as _native
from ..errors import ArgumentError, NotFoundError
from .generation import Generation
from .updates import TableWriter, WriterTurn, compacted, on_top


class Published:
    """The generation that readers get, and all that puts another in its place."""

    def __init__(self, generation: Generation) -> None:
        self._generation = generation
        self._previous: Generation | None = None
        self._slot = _native.Slot(generation.native, generation.layout.keys.kind == "str")
        self._rows: int | None = generation.live_count()
        self._published = time.time()
        self._counted = (0, 0)
        self._writing = WriterTurn()
        self._bases = 0  # publications that were more than changes on top

    @property
    def generation(self) -> int:
        """The number of the generation that readers get; every publication has a higher one."""
        return self._generation.number

    def writer(self) -> TableWriter:
        """Gather changes and publish them together.

        Readers never wait: a call that is running goes on with the generation it began with.

        Returns
        -------
        TableWriter
            To be used in a ``with`` block, whose end publishes; one that raises publishes nothing.

        Notes
        -----
        Cost of publication: a copy of all changes since the last `compact`; the base's rows are shared.

        Examples
        --------
        >>> import numpy as np
        >>> from semblance.tables import EmbeddingTable
        >>> table = EmbeddingTable.from_dense(np.eye(2, dtype=np.float32), "f32", keys=[10, 20], missing="zero")
        >>> with table.writer() as w:
        ...     w.upsert([30], np.full((1, 2), 5, np.float32))
        ...     w.remove([10])
        >>> table.lookup([10, 20, 30]).tolist()
        [[0.0, 0.0], [0.0, 1.0], [5.0, 5.0]]
        """
        return TableWriter(self._begin_writing, self._end_writing)

    def rollback(self) -> None:
        """Publish the generation before the last publication again, under a new number.

        Raises
        ------
        NotFoundError
            Where nothing was published since the table was made, compacted or rolled back.
        """
        with self._writing:
            if self._previous is None:
                raise NotFoundError("rollback: expected a previous generation, got none")
            self._bases += 1
            self._publish(replace(self._previous, number=self._generation.number + 1), None)

    def compact(self) -> None:
        """Fold changes into the base rows. Needs room for a second copy of them while it runs; ends `rollback`.

        Readers never wait; writers do, see `compact_in_background`.
        """
        with self._writing:
            self._bases += 1
            self._publish(compacted(self._generation), None)

    def compact_in_background(self) -> Future[bool]:
        """Fold changes into the base rows in a thread of its own, while readers and writers go on.

        Returns
        -------
        Future of bool
            True once the folded rows are served, with what was written meanwhile on top; False where `replace`,
            `rollback` or another compaction came first: nothing is published then. An error, such as no memory, is the
            future's.

        Notes
        -----
        Cost: as `compact`, and one comparison of the changes before and after. The interpreter waits for it at exit.

        Examples
        --------
        >>> import numpy as np
        >>> from semblance.tables import EmbeddingTable
        >>> table = EmbeddingTable.from_dense(np.eye(2, dtype=np.float32), "f32")
        >>> with table.writer() as w:
        ...     w.upsert([1], np.full((1, 2), 5, np.float32))
        >>> table.compact_in_background().result(), table.stats()["delta_nbytes"], table.lookup(1).tolist()
        (True, 0, [5.0, 5.0])
        """
        with self._writing:
            began, bases = self._generation, self._bases
        done: Future[bool] = Future()
        done.set_running_or_notify_cancel()
        threading.Thread(target=self._compact_aside, args=(began, bases, done), name="semblance-compact").start()
        return done

    def _compact_aside(self, began: Generation, bases: int, done: Future[bool]) -> None:
        try:
            folded = compacted(began)
            with self._writing:
                current = self._bases == bases
                if current:
                    self._bases += 1
                    self._publish(on_top(folded, began, self._generation), None)
        except BaseException as error:
            done.set_exception(error)
        else:
            done.set_result(current)

    def replace(self, other: Published) -> None:
        """Serve another table's rows from now on, as one publication; both must have the same layout.

        Parameters
        ----------
        other : EmbeddingTable
            Its arrays are shared, not copied; changes it gets later are not seen.

        Raises
        ------
        ArgumentError
            For a table of another dim, format, key kind, hash seed, policy or padding.

        Notes
        -----
        Cost: every page of rows and keys is touched first, so that readers of a mapped file meet no cold ones.
        """
        with self._writing:
            mine, fresh = self._generation.layout, other._generation
            if fresh.layout != mine:
                raise ArgumentError(f"other: expected a table of the layout {mine}, got {fresh.layout}")
            for part in (fresh.rows, fresh.buckets):
                if part is not None:
                    part.reshape(-1)[::4096].max(initial=0)
            self._bases += 1
            self._publish(replace(fresh, number=self._generation.number + 1), self._generation)

    def _begin_writing(self) -> Generation:
        self._writing.__enter__()
        return self._generation

    def _end_writing(self, fresh: Generation | None) -> None:
        try:
            if fresh is not None:
                self._publish(fresh, self._generation)
        finally:
            self._writing.__exit__()

    def _publish(self, fresh: Generation, previous: Generation | None) -> None:
        native = self._generation.native
        rows = fresh.live_count()
        self._counted = (self._counted[0] + native.looked_up, self._counted[1] + native.unknown)
        self._previous, self._generation, self._rows = previous, fresh, rows
        self._slot.publish(fresh.native)
        self._published = time.time()
