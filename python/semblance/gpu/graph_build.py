"""A graph's links made on the card: the exact nearest of every row, and of the few rows above it, pruned there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..arrays import F32, I64, Progress, progress_callback
from .native import require

if TYPE_CHECKING:
    from .. import _cuda

__all__ = ["GraphRule", "add_linked", "build_levels"]

U32 = npt.NDArray[np.uint32]
Levels = list[tuple[U32, U32]]

ALL_PAIRS = 2_000_000  # rows up to which every row is compared with every other
PART_ROWS = 250_000  # of a part beyond that, on average; a row is in two parts
NEAREST_ABOVE = 16  # of each level above: what lets walks cross from one dense region to another
MOST_ABOVE = 4  # levels above that are looked at
NO_ROW = np.uint32(0xFFFFFFFF)
_LEAST = {"ip": -np.inf, "cosine": -1.0, "l2": 0.0}


class GraphRule(NamedTuple):
    """How a graph is linked; the words of `semblance.Index`."""

    metric: str
    codes: str
    max_degree: int
    seed: int

    @property
    def alpha(self) -> float:
        """The factor of pruning, as cpp/index/vector_index.cpp has it."""
        return 1.0 if self.metric == "ip" or self.codes == "b1" else 1.2

    @property
    def fill(self) -> bool:
        """Whether lists are filled up; walks by neighbour codes score whole lists anyway."""
        return self.codes == "b1" and self.metric != "ip"


def add_linked(
    native: Any,
    node_levels: Callable[[int, int, int], Any],
    params: Mapping[str, str],
    rows: F32,
    ids: I64 | None,
    threads: int,
    progress: Progress,
) -> None:
    """Add the first rows of a native index, linked on the card; `params` are those of `semblance.Index`.

    Progress is that of storing the rows: the card tells nothing while it links them.
    """
    rule = GraphRule(params["metric"], params["codes"], int(params["max_degree"]), int(params["seed"]))
    levels = build_levels(rows, node_levels(len(rows), rule.max_degree, rule.seed), rule)
    callback, close = progress_callback(progress, "index")
    try:
        native.add_linked(rows, ids, levels, threads, callback)
    finally:
        close()


def build_levels(vectors: F32, levels: npt.NDArray[np.uint8], rule: GraphRule) -> Levels:
    """Link every level of a graph.

    Parameters
    ----------
    vectors : numpy.ndarray
        float32 (n, d).
    levels : numpy.ndarray
        uint8 (n,), the highest level of each row.
    rule : GraphRule
        How.

    Returns
    -------
    list of (numpy.ndarray, numpy.ndarray)
        For each level from the base on: its rows, uint32 (m,), and their links, uint32 (m, degree).

    Raises
    ------
    UnsupportedError
        No GPU can be used here.
    CapacityError
        The card has no memory left.
    """
    require("Index.build(device='cuda')")
    from .. import _cuda

    if not len(vectors):
        return []
    members = [np.flatnonzero(levels >= level).astype(np.uint32) for level in range(int(levels.max()) + 1)]
    rows = [_cuda.GraphRows(vectors.shape[1], rule.metric, rule.codes == "f32") for _ in members]
    for level, part in enumerate(rows):
        part.add(vectors if level == 0 else vectors[members[level]])
    links = []
    for level, numbers in enumerate(members):
        degree = rule.max_degree if level == 0 else max(rule.max_degree // 2, 1)
        above = list(range(level + 1, len(members)))[:MOST_ABOVE]
        in_parts = len(numbers) > ALL_PAIRS
        near = min(3 * degree, (_cuda.MAX_CANDIDATES - MOST_ABOVE * NEAREST_ABOVE) // (2 if in_parts else 1))
        width = near * (2 if in_parts else 1) + NEAREST_ABOVE * len(above)
        candidates = _cuda.Candidates(len(numbers), max(width, degree))
        if in_parts:
            _find_in_parts(candidates, vectors if level == 0 else vectors[numbers], rule, near)
        else:
            candidates.find(rows[level], None, rows[level], None, near, 0)
        for place, other in enumerate(above):
            within = np.searchsorted(numbers, members[other]).astype(np.uint32)
            column = width - NEAREST_ABOVE * (place + 1)
            candidates.find(rows[level], None, rows[other], within, NEAREST_ABOVE, column)
        found = _cuda.link_rows(rows[level], candidates, degree, rule.alpha, _LEAST[rule.metric], rule.fill)
        links.append((numbers, found if level == 0 else _named(found, numbers)))
    return links


def _named(links: U32, numbers: U32) -> U32:
    """Give links within a level the numbers of their rows."""
    return np.where(links == NO_ROW, NO_ROW, np.append(numbers, NO_ROW)[np.minimum(links, len(numbers))])


def _find_in_parts(candidates: _cuda.Candidates, vectors: F32, rule: GraphRule, nearest: int) -> None:
    """Compare rows within parts: each row joins the two pivots that are nearest to it."""
    from .. import _cuda

    pivots = max(2, 2 * len(vectors) // PART_ROWS)
    chosen = np.random.default_rng(rule.seed).choice(len(vectors), pivots, replace=False)
    chosen.sort()
    finder = _cuda.FlatIndex(vectors.shape[1], rule.metric, "bf16")
    finder.add(vectors[chosen], np.arange(pivots), None, None)
    joined: I64 = np.concatenate(
        [
            finder.search(vectors[at : at + PART_ROWS], 2, None, None, False, None)[0]
            for at in range(0, len(vectors), PART_ROWS)
        ]
    )
    exact = rule.codes == "f32"

    def rows_of(numbers: U32) -> _cuda.GraphRows:
        rows = _cuda.GraphRows(vectors.shape[1], rule.metric, exact)
        rows.add(vectors[numbers])
        return rows

    for pivot in range(pivots):
        everyone = np.flatnonzero((joined == pivot).any(axis=1)).astype(np.uint32)
        source = rows_of(everyone)
        for turn in range(2):
            numbers = np.flatnonzero(joined[:, turn] == pivot).astype(np.uint32)
            if len(numbers):
                candidates.find(rows_of(numbers), numbers, source, everyone, nearest, turn * nearest)
