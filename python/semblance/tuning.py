"""Finding the search effort that reaches a recall."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .arrays import I64
from .results import TuneReport

SMALLEST_RECALL = 1e-6


def recall_at_k(found: I64, truth: I64) -> float:
    """Mean share of each query's true neighbours that were found; both int64 (q, k), padded with -1."""
    shares = []
    for row, true_row in zip(found, truth, strict=True):
        present = true_row[true_row >= 0]
        shares.append(len(np.intersect1d(row, present)) / max(len(present), 1))
    return float(np.mean(shares))


def smallest_ef(search: Callable[[int], I64], truth: I64, recall: float, least: int, most: int) -> TuneReport:
    """Double ef until the recall is reached, then bisect; recall is taken to grow with ef.

    Parameters
    ----------
    search : callable(ef) -> int64 (q, k)
        Ids found with that ef.
    truth : int64 (q, k)
        Ids that should be found.
    recall : float
        Target in (0, 1].
    least, most : int
        Range of ef.

    Returns
    -------
    TuneReport
        The smallest ef that reaches the target, or the largest tried.
    """
    tried: dict[int, float] = {}

    def measure(ef: int) -> float:
        if ef not in tried:
            tried[ef] = recall_at_k(search(ef), truth)
        return tried[ef]

    low = high = least
    while measure(high) < recall and high < most:
        low, high = high + 1, min(high * 2, most)
    while low < high and tried[high] >= recall:
        middle = (low + high) // 2
        if measure(middle) >= recall:
            high = middle
        else:
            low = middle + 1
    return TuneReport(high, tried[high], tried[high] >= recall, sorted(tried.items()))
