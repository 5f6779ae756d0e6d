"""Which texts run together: sorted by length, as many as a token budget allows, so that padding is nearly nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

MAX_ROWS = 512  # texts a batch; more gains nothing and costs memory


def plan(lengths: Sequence[int], batch_tokens: int) -> Iterator[np.ndarray]:
    """Positions of the texts of each batch, longest texts first.

    Parameters
    ----------
    lengths : sequence of int
        Tokens of each text.
    batch_tokens : int
        Limit of texts × longest text in a batch; a single text longer than that is a batch of its own.

    Yields
    ------
    ndarray of int64
        Positions into ``lengths``; every position is given exactly once. The order is stable, so equal input gives
        equal batches.
    """
    order = np.argsort(-np.asarray(lengths, np.int64), kind="stable")
    start = 0
    while start < len(order):
        longest = max(int(lengths[order[start]]), 1)
        rows = max(1, min(batch_tokens // longest, MAX_ROWS))
        yield order[start : start + rows]
        start += rows


def padded(rows: Sequence[Sequence[int]], pad_id: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids (n, longest) int64 padded on the right, and lengths (n,) int64."""
    lengths = np.fromiter((len(row) for row in rows), np.int64, len(rows))
    ids = np.full((len(rows), max(int(lengths.max(initial=1)), 1)), pad_id, np.int64)
    for position, row in enumerate(rows):
        ids[position, : len(row)] = row
    return ids, lengths


def usable_cores() -> int:
    """Cores that this process may really use: the smaller of its affinity and its cgroup's quota, at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, _quota(cores)))


def _quota(fallback: int) -> int:
    """Cores that the control group's CPU quota allows (cgroup v2, then v1), rounded up."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()[:2]
    except (OSError, ValueError):
        try:
            quota = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us").read_text(encoding="ascii").strip()
            period = Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us").read_text(encoding="ascii").strip()
        except OSError:
            return fallback
    if not quota.isdigit() or not period.isdigit() or int(period) == 0:
        return fallback
    return max(1, -(-int(quota) // int(period)))
