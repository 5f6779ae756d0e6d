"""Changes to a table: gathered by a writer, published as one new generation, folded into the base by compaction."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .._core import table as _native
from ..errors import ArgumentError
from .arrays import Bytes, Floats, Ints, float_array
from .generation import Delta, Generation

_BUCKET = np.dtype([("keys", "<i8", 5), ("rows", "<u4", 5), ("passed", "<u4")])
_NO_ROW = 0xFFFFFFFF


class WriterTurn:
    """Lets one thread change a table at a time; a thread that asks twice is refused instead of waiting for itself."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner: int | None = None

    def __enter__(self) -> None:
        if self._owner == threading.get_ident():
            raise ArgumentError("writer: expected one change of a table at a time, got one inside another's with block")
        self._lock.acquire()
        self._owner = threading.get_ident()

    def __exit__(self, *_: object) -> None:
        self._owner = None
        self._lock.release()


class TableWriter:
    """Upserts and removals that readers see all at once, when the ``with`` block ends; none of them if it raises.

    Made by `EmbeddingTable.writer`. One writer at a time; another waits at its ``with``.
    """

    def __init__(self, begin: Callable[[], Generation], finish: Callable[[Generation | None], None]) -> None:
        self._begin, self._finish = begin, finish
        self._base: Generation | None = None
        self._keys: list[Ints] = []
        self._rows: list[Bytes] = []
        self._live: list[bool] = []

    def __enter__(self) -> TableWriter:
        self._base = self._begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        base, self._base = self._base, None
        assert base is not None
        fresh = None
        try:
            if kind is None and self._keys:
                fresh = changed(base, self._keys, self._rows, self._live)
        finally:
            self._keys, self._rows, self._live = [], [], []
            self._finish(fresh)

    def upsert(self, keys: Any, rows: ArrayLike) -> None:
        """Set the rows of keys, new or not; a key's last change counts.

        Parameters
        ----------
        keys
            (n,). A table without keys of its own takes only its row numbers.
        rows
            (n, d) float32, finite; quantised into the table's format.

        Raises
        ------
        ArgumentError
            For keys or rows of another form. Earlier changes of the block stand.
        """
        base = self._open()
        wanted = self._key_vector(keys)
        dense: Floats = float_array("rows", rows, f"({len(wanted)}, {base.layout.dim})", 2)
        if dense.shape != (len(wanted), base.layout.dim):
            raise ArgumentError(
                f"rows: expected float32 of shape ({len(wanted)}, {base.layout.dim}), got {dense.shape}"
            )
        count = base.key_count
        if base.buckets is None and wanted.size and not 0 <= wanted.min() <= wanted.max() < count:
            raise ArgumentError(
                f"keys: expected row numbers from 0 to {count} exclusive, got {wanted.min()} to "
                f"{wanted.max()} (a table made with keys= can grow)"
            )
        self._add(wanted, _native.encode(dense, base.layout.dtype, 1, None), live=True)

    def remove(self, keys: Any) -> None:
        """Forget keys: from publication on they are unknown, under the table's policy. Unknown ones are let pass."""
        base = self._open()
        wanted = self._key_vector(keys)
        self._add(wanted, np.zeros((len(wanted), base.layout.row_bytes), np.uint8), live=False)

    def _open(self) -> Generation:
        if self._base is None:
            raise ArgumentError("writer: expected a call inside its with block, got one outside")
        return self._base

    def _key_vector(self, keys: Any) -> Ints:
        wanted = self._open().layout.keys.array("keys", keys)
        if wanted.ndim != 1:
            raise ArgumentError(f"keys: expected shape (n,), got {wanted.shape}")
        return wanted

    def _add(self, keys: Ints, rows: Bytes, live: bool) -> None:
        self._keys.append(keys.copy())
        self._rows.append(rows)
        self._live.append(live)


def changed(base: Generation, keys: list[Ints], rows: list[Bytes], live: list[bool]) -> Generation:
    """`base` with the changes on top, later ones over earlier ones. The base's rows are shared, not copied."""
    old = base.delta
    if old is not None:
        filler = np.zeros((len(old.keys) - len(old.rows), base.layout.row_bytes), np.uint8)
        keys = [old.keys, *keys]
        rows = [np.concatenate([old.rows, filler]), *rows]
        flags = [np.arange(len(old.keys)) < len(old.rows)]
    else:
        flags = []
    flags += [np.full(len(part), flag) for part, flag in zip(keys[len(flags) :], live, strict=True)]
    all_keys, all_rows, all_live = np.concatenate(keys), np.concatenate(rows), np.concatenate(flags)
    _, last_from_end = np.unique(all_keys[::-1], return_index=True)
    last = np.sort(len(all_keys) - 1 - last_from_end)
    live_rows, removed = last[all_live[last]], last[~all_live[last]]
    ordered = np.ascontiguousarray(all_keys[np.concatenate([live_rows, removed])])
    delta = Delta(ordered, all_rows[live_rows], _native.build_buckets(ordered, None))
    return replace(base, delta=delta, number=base.number + 1)


def compacted(base: Generation) -> Generation:
    """The same table with its newer rows folded in. Removed row numbers stay as removals: the numbers must not move."""
    delta = base.delta
    if delta is None:
        return base
    if base.buckets is None:
        removed = np.ascontiguousarray(delta.keys[len(delta.rows) :])
        none = delta.rows[:0].copy()
        rest = Delta(removed, none, _native.build_buckets(removed, None)) if len(removed) else None
        return replace(_folded(base, delta), delta=rest, number=base.number + 1)
    own_keys = _row_keys(base.buckets, len(base.rows))
    kept = ~np.isin(own_keys, delta.keys)
    keys = np.concatenate([own_keys[kept], delta.keys[: len(delta.rows)]])
    rows = np.concatenate([base.rows[kept], delta.rows])
    buckets = _native.build_buckets(keys, None)
    return replace(base, rows=_native.settled(rows), buckets=buckets, delta=None, number=base.number + 1)


def on_top(folded: Generation, began: Generation, now: Generation) -> Generation:
    """`folded`, which holds the changes of `began`, with those that `now` has beyond them."""
    return replace(folded, delta=_since(began.delta, now.delta, folded.delta), number=now.number + 1)


def _since(old: Delta | None, new: Delta | None, left: Delta | None) -> Delta | None:
    """The changes of `new` that `old` does not have; those that are `left` of `old` stay."""
    if old is None or new is None or not len(old.keys):
        return new
    order = np.argsort(old.keys)
    place = order[np.minimum(np.searchsorted(old.keys, new.keys, sorter=order), len(order) - 1)]
    live, lived = np.arange(len(new.keys)) < len(new.rows), place < len(old.rows)
    same = (old.keys[place] == new.keys) & (live == lived)
    both = np.flatnonzero(same & live)
    same[both] = (new.rows[both] == old.rows[place[both]]).all(axis=1)
    if left is not None:
        same &= ~np.isin(new.keys, left.keys)
    kept = np.ascontiguousarray(new.keys[~same])
    if not len(kept):
        return None
    return Delta(kept, new.rows[~same[: len(new.rows)]], _native.build_buckets(kept, None))


def _folded(base: Generation, delta: Delta) -> Generation:
    """Newer rows in the place of the older ones; keys that were pruned, or shared a row, get one after the others."""
    numbers = delta.keys[: len(delta.rows)]
    if base.remap is None:
        rows = base.rows.copy()
        rows[numbers] = delta.rows
        return replace(base, rows=_native.settled(rows))
    remap = base.remap.copy()
    keys_of_row = np.bincount(remap[remap >= 0], minlength=len(base.rows) + 1)
    grown = keys_of_row[remap[numbers]] != 1  # the last count, of no row at all, is 0
    remap[numbers[grown]] = len(base.rows) + np.arange(int(grown.sum()), dtype=np.int32)
    rows = np.concatenate([base.rows, delta.rows[grown]])
    rows[remap[numbers]] = delta.rows
    return replace(base, rows=_native.settled(rows), remap=remap)


def _row_keys(buckets: Bytes, count: int) -> Ints:
    slots = np.ascontiguousarray(buckets).reshape(-1).view(_BUCKET)
    rows, keys = slots["rows"].ravel(), slots["keys"].ravel()
    used = rows != _NO_ROW
    own = np.empty(count, np.int64)
    own[rows[used]] = keys[used]
    return own
