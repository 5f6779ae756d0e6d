"""How far a table's rows are from the weights it was made of."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..errors import ArgumentError
from .table import EmbeddingTable

_ROWS = 8192  # compared at a time


class Fidelity(NamedTuple):
    """Differences between a table's rows and the weights it was made of.

    ``rmse``: root of the mean squared difference; ``relative``: its share of the weights' root mean square;
    ``largest``: the largest absolute difference; ``cosine``: mean cosine of rows that are not zero.
    """

    rmse: float
    relative: float
    largest: float
    cosine: float


def fidelity(table: EmbeddingTable, weights: ArrayLike, keys: Any = None, *, threads: int = 0) -> Fidelity:
    """Compare a table with dense rows.

    Parameters
    ----------
    table : EmbeddingTable
        Of any kind.
    weights : array_like of float, shape (n, d)
        What the rows should be.
    keys : array_like of int or sequence of str, shape (n,), optional
        Their keys, by default 0 .. n - 1.
    threads : int
        0 = all cores, 1 = the calling thread only.

    Returns
    -------
    Fidelity

    Raises
    ------
    ArgumentError
        For weights of another width, or another number of keys.

    Examples
    --------
    >>> weights = np.random.default_rng(0).normal(size=(100, 32)).astype(np.float32)
    >>> report = fidelity(EmbeddingTable.from_dense(weights, "i8"), weights)
    >>> report.relative < 0.01, report.cosine > 0.999
    (True, True)
    """
    rows = np.asarray(weights)
    if rows.ndim != 2 or rows.shape[1] != table.dim or (keys is not None and len(keys) != len(rows)):
        count = "" if keys is None else f" and {len(keys)} keys"
        raise ArgumentError(f"weights: expected shape (n, {table.dim}) and a key a row, got {rows.shape}{count}")
    squares = reference = largest = cosines = 0.0
    directed = 0
    for first in range(0, len(rows), _ROWS):
        wanted = rows[first : first + _ROWS].astype(np.float64)
        chosen = np.arange(first, first + len(wanted)) if keys is None else keys[first : first + _ROWS]
        got = table.lookup(chosen, threads=threads).astype(np.float64)
        difference = got - wanted
        squares += float((difference**2).sum())
        reference += float((wanted**2).sum())
        largest = max(largest, float(np.abs(difference).max(initial=0)))
        lengths = np.sqrt((got**2).sum(1) * (wanted**2).sum(1))
        some = lengths > 0
        cosines += float(((got * wanted).sum(1)[some] / lengths[some]).sum())
        directed += int(some.sum())
    values = max(rows.size, 1)
    relative = (squares / reference) ** 0.5 if reference else 0.0
    return Fidelity((squares / values) ** 0.5, relative, largest, cosines / max(directed, 1))
