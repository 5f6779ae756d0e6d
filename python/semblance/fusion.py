"""One ranking out of several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .arrays import count, describe, number, one_of
from .errors import ArgumentError
from .results import Hits

__all__ = ["fuse"]

MAX_K = 1 << 20
RRF_CONSTANT = 60  # the value of Cormack, Clarke and Buettcher, SIGIR 2009
LARGEST_WEIGHT = 1e30


def fuse(rankings: Sequence[Hits], method: str = "rrf", k: int = 10, weights: Sequence[float] | None = None) -> Hits:
    """Fuse the answers of several searches to the same queries.

    Parameters
    ----------
    rankings : sequence of Hits
        ids (q, k of its own) and distances, closest first, of one search each; ids mean the same in all of them.
    method : {"rrf", "weighted"}
        ``"rrf"`` adds up 1 / (60 + rank); ``"weighted"`` adds up nearness, which within each answer goes from 1 for the
        closest distance down to 0 for the farthest. What an answer lacks adds nothing.
    k : int
        Rows to return.
    weights : sequence of float, optional
        A weight of each ranking, at least 0; 1 by default.

    Returns
    -------
    Hits
        ``ids`` int64 (q, k), the highest sum first (ties go to the smaller id), and ``distances`` float32 (q, k), minus
        the sum; padded with -1 and infinity.

    Raises
    ------
    ArgumentError
        No rankings, others than Hits, different numbers of queries, k < 1, wrong weights.

    Notes
    -----
    Reciprocal rank fusion: Cormack, Clarke and Buettcher, SIGIR 2009. Weighted sums of scaled scores: Bruch, Gai and
    Ingber, TOIS 2023. Costs a sort of all hits.

    Examples
    --------
    >>> import numpy as np
    >>> by_words = Hits(np.array([[4, 2, 9]]), np.array([[0.1, 0.2, 0.9]], np.float32))
    >>> by_meaning = Hits(np.array([[2, 7, 4]]), np.array([[0.5, 0.6, 0.7]], np.float32))
    >>> fuse([by_words, by_meaning], k=2).ids.tolist()
    [[2, 4]]
    """
    one_of(method, "method", ("rrf", "weighted"))
    k = count(k, "k", 1, MAX_K)
    checked = _checked(rankings)
    if weights is None:
        weights = [1.0] * len(checked)
    if not isinstance(weights, (Sequence, np.ndarray)) or len(weights) != len(checked):
        raise ArgumentError(f"weights: expected {len(checked)} numbers, one a ranking, got {describe(weights)}")
    factors = [number(w, f"weights[{at}]", 0.0, LARGEST_WEIGHT) for at, w in enumerate(weights)]
    gain = _by_rank if method == "rrf" else _by_nearness
    ids = np.concatenate([hits.ids for hits in checked], axis=1)
    gains = np.concatenate([w * gain(hits) for w, hits in zip(factors, checked, strict=True)], axis=1)
    return _best(ids, gains, k)


def _checked(rankings: Any) -> list[Hits]:
    if not isinstance(rankings, Sequence) or not rankings or isinstance(rankings, Hits):
        raise ArgumentError(f"rankings: expected a list of Hits, got {describe(rankings)}")
    for at, hits in enumerate(rankings):
        if not isinstance(hits, Hits):
            raise ArgumentError(f"rankings[{at}]: expected Hits, got {describe(hits)}")
        if hits.ids.ndim != 2 or hits.ids.shape != hits.distances.shape or len(hits.ids) != len(rankings[0].ids):
            want = f"ids and distances of shape ({len(rankings[0].ids)}, k)"
            got = f"{describe(hits.ids)} and {describe(hits.distances)}"
            raise ArgumentError(f"rankings[{at}]: expected {want}, got {got}")
    return list(rankings)


def _by_rank(hits: Hits) -> Any:
    """What each hit adds, float64 (q, k)."""
    return np.broadcast_to(1.0 / (RRF_CONSTANT + 1.0 + np.arange(hits.ids.shape[1])), hits.ids.shape)


def _by_nearness(hits: Hits) -> Any:
    """What each hit adds, float64 (q, k)."""
    distances = np.where(hits.ids >= 0, hits.distances, np.nan).astype(np.float64)
    if not distances.size:
        return distances
    present = np.isfinite(distances)
    least = np.where(present, distances, np.inf).min(axis=1, keepdims=True)
    most = np.where(present, distances, -np.inf).max(axis=1, keepdims=True)
    span = np.where(most > least, most - least, 1.0)
    with np.errstate(invalid="ignore"):  # rows without any hit
        return np.where(present, 1.0 - (distances - least) / span, 0.0)


def _best(ids: Any, gains: Any, k: int) -> Hits:
    """Add up what belongs to one id of one query, and keep the k largest sums."""
    q = len(ids)
    out = Hits(np.full((q, k), -1, np.int64), np.full((q, k), np.inf, np.float32))
    query, column = np.nonzero(ids >= 0)
    if not len(query):
        return out
    flat, values = ids[query, column], gains[query, column]
    order = np.lexsort((flat, query))
    query, flat, values = query[order], flat[order], values[order]
    first = np.flatnonzero(np.diff(query, prepend=-1).astype(bool) | np.diff(flat, prepend=-1).astype(bool))
    query, flat, values = query[first], flat[first], np.add.reduceat(values, first)
    order = np.lexsort((flat, -values, query))
    query, flat, values = query[order], flat[order], values[order]
    place = np.arange(len(query)) - np.searchsorted(query, query)
    kept = place < k
    out.ids[query[kept], place[kept]] = flat[kept]
    out.distances[query[kept], place[kept]] = -values[kept]
    return out
