"""Choosing rows that are near a query and differ from one another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from .arrays import F32


def choose_diverse(to_query: F32, between: F32, k: int, balance: float, groups: Sequence[object] | None) -> list[int]:
    """Order candidates by maximal marginal relevance, each group being asked in turn where groups are given.

    Parameters
    ----------
    to_query : float32 (n,)
        Distances of the candidates to the query.
    between : float32 (n, n)
        Distances among the candidates.
    k : int
        Candidates to choose.
    balance : float
        Weight of nearness, in [0, 1]; the rest is the weight of the distance to the closest one chosen.
    groups : sequence of n hashables, optional
        A group is left out while another one that still has candidates was chosen from less often.

    Returns
    -------
    list of int
        Positions, in the order chosen; min(k, n) of them.

    Examples
    --------
    >>> d = np.array([0.0, 0.1, 0.2], np.float32)
    >>> choose_diverse(d, np.array([[0, 0.1, 9], [0.1, 0, 9], [9, 9, 0]], np.float32), 2, 0.5, None)
    [0, 2]
    """
    n = len(to_query)
    chosen: list[int] = []
    open_ = np.ones(n, bool)
    nearest_chosen = np.full(n, np.inf, np.float32)
    taken: Counter[object] = Counter()
    while len(chosen) < min(k, n):
        eligible = open_.copy()
        if groups is not None:
            fewest = min(taken[group] for group, free in zip(groups, open_, strict=True) if free)
            eligible &= np.array([taken[g] == fewest for g in groups])
        spread = np.where(np.isinf(nearest_chosen), 0.0, nearest_chosen)
        gain = np.where(eligible, (1.0 - balance) * spread - balance * to_query, -np.inf)
        if not chosen:
            gain = np.where(eligible, -to_query, -np.inf)  # the first is the nearest, whatever the balance
        best = int(np.argmax(gain))
        chosen.append(best)
        open_[best] = False
        nearest_chosen = np.minimum(nearest_chosen, between[best])
        if groups is not None:
            taken[groups[best]] += 1
    return chosen
