"""Tables that store only some of their rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._core import table as _native
from ..errors import ArgumentError
from .arrays import Bytes, Floats, integer_array
from .generation import Generation, Layout, check_missing, missing_row
from .keys import KeySpace
from .table import Dtype, EmbeddingTable


def pruned(
    rows: ArrayLike,
    remap: ArrayLike,
    dtype: Dtype = "i8",
    missing: str = "error",
    padding: int | None = None,
    *,
    threads: int = 0,
) -> EmbeddingTable:
    """A table that stores only some of its rows; the others are rows of zeros.

    Parameters
    ----------
    rows : array_like, float32 of shape (kept, d)
        The rows that are stored.
    remap : array_like of int, shape (n,)
        For every key 0 .. n - 1 its row in `rows`, or -1. Several keys may share a row.
    dtype, missing, padding, threads
        As in `EmbeddingTable.from_dense`. A pruned key is not an unknown one.

    Returns
    -------
    EmbeddingTable
        Which can be written to: an upsert brings a pruned row back.

    Raises
    ------
    ArgumentError
        For numbers below -1 or beyond the rows, and what `EmbeddingTable.from_dense` refuses.

    Examples
    --------
    >>> import numpy as np
    >>> pruned(np.array([[7, 8]], np.float32), [-1, 0, -1], "f32").lookup([0, 1]).tolist()
    [[0.0, 0.0], [7.0, 8.0]]
    """
    stored = EmbeddingTable.from_dense(rows, dtype, threads=threads)._generation
    numbers = integer_array("remap", remap)
    if numbers.ndim != 1:
        raise ArgumentError(f"remap: expected shape (n,), got {numbers.shape}")
    if numbers.size and not -1 <= numbers.min() <= numbers.max() < len(stored.rows):
        raise ArgumentError(f"remap: expected -1 to {len(stored.rows) - 1}, got {numbers.min()} to {numbers.max()}")
    check_missing(missing, len(numbers))
    space = KeySpace("pruned")
    layout = Layout(
        dtype, stored.layout.dim, space, missing, None if padding is None else space.one("padding", padding)
    )
    small = np.ascontiguousarray(numbers, np.int32)
    row = _pruned_missing_row(missing, stored, small)
    return EmbeddingTable(Generation(layout, stored.rows, None, row, remap=small))


def _pruned_missing_row(missing: str, stored: Generation, remap: NDArray[np.int32]) -> Bytes | None:
    if missing in ("zero", "error"):
        return None
    zeros: Floats = np.zeros((1, stored.layout.dim), np.float32)
    if missing.startswith("row:"):
        number = int(remap[int(missing[4:])])
        encoded: Bytes = stored.rows[number] if number >= 0 else _native.encode(zeros, stored.layout.dtype, 1, None)[0]
        return encoded.copy()
    bare = Generation(
        Layout(stored.layout.dtype, stored.layout.dim, KeySpace("pruned"), "zero"), stored.rows, remap=remap
    )
    numbers = np.arange(len(remap), dtype=np.int64)
    total = zeros.copy()
    bare.native.pool(numbers, np.array([0, len(remap)], np.int64), None, "mean", total, 0)
    return missing_row("mean", stored.rows, total, stored.layout.dtype)
