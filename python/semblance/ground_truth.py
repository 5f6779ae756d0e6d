"""Brute force: the answers that approximate searches are measured against."""

from __future__ import annotations

from typing import Any

from . import codecs
from ._core import index as _native
from .arrays import as_array, bit_rows, count, describe, float_rows, thread_count
from .errors import ArgumentError
from .results import Hits

__all__ = ["exact"]


def exact(vectors: Any, queries: Any, k: int = 10, metric: str = "cosine", *, threads: int = 0) -> Hits:
    """Brute force over float32 rows: ground truth.

    Parameters
    ----------
    vectors : array_like, float of shape (n, d), or packed uint8 of shape (n, d / 8)
        Rows; their position is their id.
    queries : array_like of shape (q, d) or (q, d / 8)
        As the rows.
    k : int
        Rows to return.
    metric : str
        As for `Index`.
    threads : int
        0 = all cores, 1 = the calling thread only.

    Returns
    -------
    Hits
        ``ids`` int64 (q, k) and ``distances`` float32 (q, k); ties go to the smaller id.

    Raises
    ------
    ArgumentError
        Wrong shape or dtype, NaN, infinity, a zero vector under cosine, k < 1.

    Notes
    -----
    ``q * n * d`` multiplications in cache-sized tiles.

    Examples
    --------
    >>> exact([[0.0], [2.0], [3.0]], [[2.2]], k=2, metric="l2").ids.tolist()
    [[1, 2]]
    """
    if not isinstance(metric, str) or metric not in codecs.METRICS:
        raise ArgumentError(f"metric: expected one of {codecs.METRICS}, got {metric!r}")
    array = as_array(vectors, "vectors", "shape (n, d)")
    if array.ndim != 2 or not 1 <= array.shape[1] <= _native.MAX_DIM:
        raise ArgumentError(f"vectors: expected shape (n, d) with d from 1 to {_native.MAX_DIM}, got {describe(array)}")
    k = count(k, "k", 1, _native.MAX_K)
    rows = bit_rows if metric in codecs.BINARY_METRICS else float_rows
    dim = array.shape[1] * (8 if metric in codecs.BINARY_METRICS else 1)
    return Hits._make(
        _native.exact(rows(array, "vectors", dim), rows(queries, "queries", dim), k, metric, thread_count(threads))
    )
