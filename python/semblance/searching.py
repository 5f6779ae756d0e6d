"""The half of an index that readers use: searches, look-ups, filters, and the measure of how good they are."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ._core import index as _native
from .arrays import F32, I64, as_array, bit_rows, count, describe, flag, float_rows, int_ids, number, thread_count
from .diversity import choose_diverse
from .errors import ArgumentError
from .filters import Allowed, filters_of, one_filter
from .ground_truth import exact as _exact
from .results import Hits, Ranges, TuneReport
from .tuning import SMALLEST_RECALL, smallest_ef

__all__ = ["Searchable"]

MAX_EF = 1 << 20
FLOAT_MAX = float(np.finfo(np.float32).max)


class Searchable:
    """Searches over the rows of a native index. Made by `semblance.Index` alone."""

    _native: _native.Index
    _dim: int
    _metric: str
    _binary: bool
    _ef: int

    @property
    def ef(self) -> int:
        """Candidates that a search keeps where it is not told (`tune` sets it); larger finds more and costs more."""
        return self._ef

    @ef.setter
    def ef(self, value: int) -> None:
        self._ef = count(value, "ef", 1, MAX_EF)

    def __len__(self) -> int:
        return len(self._native)

    def __contains__(self, id: object) -> bool:
        if isinstance(id, bool) or not isinstance(id, (int, np.integer)):
            return False
        return bool(0 <= id < 2**63) and self._native.contains(int(id))

    def ids(self) -> I64:
        """All ids, int64 (n,), in the order in which their present rows were added."""
        return self._native.ids()

    def search(
        self,
        queries: Any,
        k: int = 10,
        ef: int | None = None,
        allowed: Any = None,
        exact: bool = False,
        *,
        threads: int = 0,
    ) -> Hits:
        """Find the k nearest rows of each query.

        Parameters
        ----------
        queries : array_like, float of shape (q, d), or packed uint8 of shape (q, d / 8)
            Converted to float32.
        k : int
            Rows to return, 1 to 1,048,576.
        ef : int, optional
            Candidates the walk keeps, at least k; by default `ef` of the index, or k where that is larger.
        allowed : Allowed, array_like of int ids, or bool mask in the order of `ids()`, optional
            Only these rows are returned, and never fewer than min(k, allowed rows). A list of such filters, or an array
            of two dimensions, holds one a query (None = all rows).
        exact : bool
            Scan all rows at the finest stored precision.
        threads : int
            0 = all cores, 1 = the calling thread only.

        Returns
        -------
        Hits
            ``ids`` int64 (q, k) and ``distances`` float32 (q, k), closest first, padded with -1 and infinity.

        Raises
        ------
        ArgumentError
            Wrong shape or dtype, NaN, infinity, a zero query under cosine, k < 1, ef < k, another number of filters
            than of queries.

        Examples
        --------
        >>> index = Index(2)
        >>> _ = index.add([[1.0, 0.0], [0.0, 1.0]])
        >>> ids, distances = index.search([[1.0, 0.1]], k=1)
        >>> ids.tolist()
        [[0]]
        >>> index.search([[1.0, 0.1], [1.0, 0.1]], k=1, allowed=[None, [1]]).ids.tolist()
        [[0], [1]]
        """
        rows = self._rows(queries, "queries")
        if type(k) is not int or not 1 <= k <= _native.MAX_K:
            k = count(k, "k", 1, _native.MAX_K)
        ef = max(self._ef, k) if ef is None else count(ef, "ef", k, MAX_EF)
        shared, each = (None, None) if allowed is None else filters_of(allowed, len(rows), self.ids)
        if type(threads) is not int or not 0 <= threads <= 1:
            threads = thread_count(threads)
        return Hits._make(self._native.search(rows, k, ef, flag(exact, "exact"), shared, threads, each))

    def within(
        self,
        queries: Any,
        radius: float,
        ef: int | None = None,
        allowed: Any = None,
        exact: bool = False,
        *,
        threads: int = 0,
    ) -> Ranges:
        """Find all rows within a distance of each query.

        Parameters
        ----------
        queries : array_like, float of shape (q, d), or packed uint8 of shape (q, d / 8)
            Converted to float32.
        radius : float
            Largest distance, in the metric's own unit; finite.
        ef : int, optional
            Candidates of the walk that finds where to start.
        allowed, exact, threads
            As in `search`.

        Returns
        -------
        Ranges
            ``offsets`` int64 (q + 1,), ``ids`` int64 and ``distances`` float32, closest first in each query.

        Raises
        ------
        ArgumentError
            As in `search`; a radius that is no finite number.

        Examples
        --------
        >>> index = Index(1, metric="l2", kind="flat")
        >>> _ = index.add([[0.0], [1.0], [5.0]])
        >>> index.within([[0.5]], radius=1.0).ids.tolist()
        [0, 1]
        """
        rows = self._rows(queries, "queries")
        radius = number(radius, "radius", -FLOAT_MAX, FLOAT_MAX)
        ef = max(self._ef, 100) if ef is None else count(ef, "ef", 1, MAX_EF)
        shared, each = filters_of(allowed, len(rows), self.ids)
        threads = thread_count(threads)
        return Ranges._make(self._native.within(rows, radius, ef, flag(exact, "exact"), shared, threads, each))

    def get(self, ids: Any) -> npt.NDArray[Any]:
        """Return stored rows at the finest precision kept (unit vectors under cosine).

        Parameters
        ----------
        ids : array_like of int, shape (n,)
            Ids that are in the index.

        Returns
        -------
        numpy.ndarray
            float32 (n, d), or packed uint8 (n, d / 8).

        Raises
        ------
        NotFoundError
            For the first id that is not there.

        Examples
        --------
        >>> index = Index(2)
        >>> _ = index.add([[3.0, 0.0]])
        >>> index.get([0]).tolist()
        [[1.0, 0.0]]
        """
        return self._native.get(int_ids(ids, "ids"))

    def allow(self, ids: Any) -> Allowed:
        """Make a filter once that any number of searches use.

        Parameters
        ----------
        ids : array_like of int, shape (n,), or bool mask of shape (len(index),) in the order of `ids()`
            Ids that are not in the index (yet) are kept: the filter is about ids, whatever rows they have.

        Returns
        -------
        Allowed
            Follows changes of the index.

        Raises
        ------
        ArgumentError
            Wrong dtype or shape.

        Examples
        --------
        >>> index = Index(2)
        >>> _ = index.add([[1.0, 0.0], [0.0, 1.0]])
        >>> index.search([[1.0, 0.1]], k=1, allowed=index.allow([1])).ids.tolist()
        [[1]]
        """
        return one_filter(ids, self.ids)

    def diverse(
        self,
        query: Any,
        k: int = 10,
        pool: int = 100,
        balance: float = 0.5,
        groups: Mapping[int, Any] | None = None,
        *,
        ef: int | None = None,
        allowed: Any = None,
    ) -> Hits:
        """Find near rows that differ from one another (maximal marginal relevance).

        Parameters
        ----------
        query : array_like, float of shape (d,) or (1, d)
            One query.
        k : int
            Rows to return.
        pool : int
            Nearest rows to choose from, at least k.
        balance : float
            1 = nearness alone, 0 = difference alone.
        groups : mapping from id to group, optional
            Rows are chosen evenly over the groups of the pool (ids without one form a group of their own).
        ef, allowed
            As in `search`.

        Returns
        -------
        Hits
            One query's rows in the order chosen, ids int64 (1, k) and distances float32 (1, k).

        Raises
        ------
        ArgumentError
            As in `search`; pool < k, balance outside [0, 1].

        Notes
        -----
        Carbonell and Goldstein, SIGIR 1998. Costs one search and ``k * pool`` distances.

        Examples
        --------
        >>> index = Index(2)
        >>> _ = index.add([[1.0, 0.0], [1.0, 0.01], [0.6, 0.8]])
        >>> index.diverse([1.0, 0.0], k=2, pool=3, balance=0.3).ids.tolist()
        [[0, 2]]
        """
        row = as_array(query, "query", f"float32 of shape ({self._dim},)")
        row = row[None] if row.ndim == 1 else row
        if row.ndim != 2 or row.shape[0] != 1:
            raise ArgumentError(f"query: expected one query, got {describe(row)}")
        k = count(k, "k", 1, _native.MAX_K)
        pool = count(pool, "pool", k, _native.MAX_K)
        balance = number(balance, "balance", 0.0, 1.0)
        if groups is not None and not isinstance(groups, Mapping):
            raise ArgumentError(f"groups: expected a mapping from id to group, got {describe(groups)}")
        hits = self.search(row, pool, None if ef is None else max(count(ef, "ef", 1, _native.MAX_K), pool), allowed)
        found = hits.ids[0] >= 0
        ids, distances = hits.ids[0][found], hits.distances[0][found]
        if len(ids) == 0:
            return Hits(np.full((1, k), -1, np.int64), np.full((1, k), np.inf, np.float32))
        between = self._distances_among(ids)
        labels = None if groups is None else [_label(groups, int(i)) for i in ids]
        order = choose_diverse(distances, between, k, balance, labels)
        out = Hits(np.full((1, k), -1, np.int64), np.full((1, k), np.inf, np.float32))
        out.ids[0, : len(order)] = ids[order]
        out.distances[0, : len(order)] = distances[order]
        return out

    def tune(self, queries: Any, k: int = 10, recall: float = 0.95, *, threads: int = 0) -> TuneReport:
        """Set `ef` to the smallest value whose recall at k, measured against exact search, reaches a target.

        Parameters
        ----------
        queries : array_like, float of shape (q, d)
            Typical queries; a few hundred give the recall to about a point.
        k : int
            Rows a search returns.
        recall : float
            Target, above 0 and up to 1.
        threads : int
            0 = all cores, 1 = the calling thread only.

        Returns
        -------
        TuneReport
            With ``reached=False`` where no ef up to the largest tried reaches the target; `ef` is then the best tried.

        Raises
        ------
        ArgumentError
            As in `search`; no queries, a target outside (0, 1].

        Notes
        -----
        Costs one exact search and about a dozen approximate ones over the queries.

        Examples
        --------
        >>> import numpy as np
        >>> rows = np.random.default_rng(0).normal(size=(500, 8)).astype(np.float32)
        >>> index = Index.build(rows)
        >>> index.tune(rows[:50], k=5, recall=0.9).reached
        True
        """
        rows = self._rows(queries, "queries")
        k = count(k, "k", 1, _native.MAX_K)
        recall = number(recall, "recall", SMALLEST_RECALL, 1.0)
        if len(rows) == 0 or len(self) == 0:
            raise ArgumentError(f"queries: expected at least one query and one row, got {len(rows)} and {len(self)}")
        truth = self.search(rows, k, exact=True, threads=threads).ids

        seconds: dict[int, float] = {}

        def search(ef: int) -> I64:
            start = time.perf_counter()
            found = self.search(rows, k, ef=ef, threads=threads).ids
            seconds[ef] = time.perf_counter() - start
            return found

        report = smallest_ef(search, truth, recall, least=k, most=max(k, min(len(self), MAX_EF)))
        report = replace(report, milliseconds=1e3 * seconds[report.ef] / len(rows))
        self.ef = report.ef
        return report

    def _distances_among(self, ids: I64) -> F32:
        """All distances between stored rows, float32 (n, n)."""
        rows = self.get(ids)
        found, distances = _exact(rows, rows, max(len(rows), 1), self._metric)
        out = np.zeros((len(rows), len(rows)), np.float32)
        np.put_along_axis(out, found, distances, axis=1)
        return out

    def _rows(self, value: Any, name: str) -> npt.NDArray[Any]:
        return bit_rows(value, name, self._dim) if self._binary else float_rows(value, name, self._dim)


def _label(groups: Mapping[int, Any], id: int) -> Any:
    label = groups.get(id)
    try:
        hash(label)
    except TypeError:
        raise ArgumentError(f"groups[{id}]: expected a hashable group, got {describe(label)}") from None
    return label
