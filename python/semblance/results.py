"""What searches, checks and tuning return."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from .arrays import F32, I64

__all__ = ["Hits", "Ranges", "Report", "TuneReport"]


class Hits(NamedTuple):
    """The nearest rows of each query, closest first.

    ``ids`` int64 (q, k) and ``distances`` float32 (q, k); padded with id -1 and infinity where fewer than k rows exist.
    """

    ids: I64
    distances: F32


class Ranges(NamedTuple):
    """The rows within a radius of each query, closest first.

    Query ``i`` owns ``ids[offsets[i]:offsets[i + 1]]`` (int64) and the same slice of ``distances`` (float32).
    """

    offsets: I64
    ids: I64
    distances: F32


@dataclass(frozen=True)
class Report:
    """What `Index.check` found: ``problems`` is empty for a sound index."""

    rows: int
    live: int
    reachable: int
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


@dataclass(frozen=True)
class TuneReport:
    """What `Index.tune` measured: the chosen ``ef``, its ``recall``, and every (ef, recall) it tried.

    ``milliseconds`` is what a query took on average at that ef, in the batch that was measured; it decided nothing.
    """

    ef: int
    recall: float
    reached: bool
    tried: list[tuple[int, float]]
    milliseconds: float = 0.0
