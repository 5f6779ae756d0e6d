"""Which ids a search may return: one filter for all queries, or one a query."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ._core import index as _native
from .arrays import I64, as_array, describe, int_ids
from .errors import ArgumentError

__all__ = ["Allowed", "Filters", "filters_of", "one_filter"]


class Allowed:
    """Ids that a search may return, made once by `Index.allow` and used in any number of searches.

    Attributes
    ----------
    ids : numpy.ndarray
        int64 (n,).

    Examples
    --------
    >>> import semblance as sb
    >>> index = sb.Index(2)
    >>> _ = index.add([[1.0, 0.0], [0.0, 1.0]])
    >>> allowed = index.allow([1])
    >>> allowed, index.search([[1.0, 0.1]], k=1, allowed=allowed).ids.tolist()
    (Allowed(1 ids), [[1]])
    """

    __slots__ = ("_native", "ids")

    def __init__(self, ids: I64) -> None:
        self.ids = ids
        self._native = _native.Allowed(ids, True)

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"Allowed({len(self.ids)} ids)"


# What native searches take: a filter of all queries, and a list of one each; at most one of them is not None.
Filters = tuple[_native.Allowed | None, list[_native.Allowed | None] | None]


def filters_of(allowed: Any, queries: int, present: Callable[[], I64]) -> Filters:
    """Sort out what a caller gave as `allowed`.

    Parameters
    ----------
    allowed : None, Allowed, array_like of ids, bool mask, or any of these one a query
        A list whose first item is no number, and any array of two dimensions, hold a filter a query.
    queries : int
        How many there are.
    present : callable() -> int64 (n,)
        The ids that masks are about; called once at most.

    Returns
    -------
    (native filter or None, list of them or None)

    Raises
    ------
    ArgumentError
        Wrong dtype or shape, or another number of filters than of queries.
    """
    if allowed is None:
        return None, None
    if isinstance(allowed, Allowed):
        return allowed._native, None
    if isinstance(allowed, (list, tuple)) and allowed and not isinstance(allowed[0], (int, float, np.generic)):
        items = allowed
    else:
        array = as_array(allowed, "allowed", "ids, a bool mask, or one of these a query")
        if array.ndim != 2 and not (array.ndim == 1 and array.dtype == object):
            return _native.Allowed(_ids_of(array, present, "allowed"), False), None
        items = list(array)
    if len(items) != queries:
        raise ArgumentError(f"allowed: expected one filter for all queries or {queries}, one each, got {len(items)}")
    known: list[I64] = []

    def ids() -> I64:
        if not known:
            known.append(present())
        return known[0]

    return None, [_native_of(item, ids, at) for at, item in enumerate(items)]


def one_filter(allowed: Any, present: Callable[[], I64]) -> Allowed:
    """Return the filter for all queries that a caller gave."""
    if isinstance(allowed, Allowed):
        return allowed
    return Allowed(_ids_of(as_array(allowed, "allowed", "ids or a bool mask"), present, "allowed"))


def _native_of(item: Any, present: Callable[[], I64], at: int) -> _native.Allowed | None:
    if item is None:
        return None
    if isinstance(item, Allowed):
        return item._native
    name = f"allowed[{at}]"
    return _native.Allowed(_ids_of(as_array(item, name, "ids, a bool mask or None"), present, name), False)


def _ids_of(array: np.ndarray, present: Callable[[], I64], name: str) -> I64:
    if array.dtype != np.bool_:
        return int_ids(array, name)
    ids = present()
    if array.shape != ids.shape:
        raise ArgumentError(f"{name}: expected a bool mask of shape ({len(ids)},), got {describe(array)}")
    return np.ascontiguousarray(ids[array])
