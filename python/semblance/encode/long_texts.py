"""Texts beyond a model's limit: overlapping windows whose vectors are merged, or positions that are stretched.

Sources: parallel windows, grouped and interpolated positions as compared in LongEmbed (Zhu et al., EMNLP 2024).
"""

from __future__ import annotations

import numpy as np

from .tokenize import Tokenizer

METHODS = ("truncate", "windows", "group", "interpolate")
# how many times the model's own limit is read where no max_tokens is given
REACH = {"truncate": 1, "windows": 32, "group": 8, "interpolate": 8}
OVERLAP = 4  # neighbouring windows share one part in so many

Rows = list[list[int]]


def windows(row: list[int], tokenizer: Tokenizer, told: int, limit: int) -> Rows:
    """A row of ids as windows of at most ``limit``, each with the special tokens and the instruction of the whole.

    ``told`` ids after the prefix are the instruction. A row that fits is its own only window.
    """
    if len(row) <= limit:
        return [row]
    first, last = len(tokenizer.prefix) + told, len(row) - len(tokenizer.suffix)
    head, body, tail = row[:first], row[first:last], row[last:]
    size = max(limit - len(head) - len(tail), 1)
    step = max(size - size // OVERLAP, 1)
    starts = range(0, max(len(body) - size, 0) + step, step)
    return [head + body[start : start + size] + tail for start in starts]


def merged(vectors: np.ndarray, pieces: list[Rows]) -> np.ndarray:
    """One vector a text from those of its windows: their mean, weighted by tokens; (windows, d) → (texts, d)."""
    counts = np.array([len(rows) for rows in pieces])
    weights = np.array([len(row) for rows in pieces for row in rows], np.float32)
    starts = np.cumsum(counts) - counts
    weights /= np.repeat(np.add.reduceat(weights, starts), counts)
    result: np.ndarray = np.add.reduceat(vectors * weights[:, None], starts, axis=0)
    single = counts == 1  # untouched to the last bit
    result[single] = vectors[starts[single]]
    return result


def stretched(table: np.ndarray, width: int, limit: int, offset: int, method: str) -> np.ndarray:
    """Rows of positions for a text of ``width`` tokens, (offset + width, d), made of the first ``limit`` ones.

    "group" gives neighbouring tokens the same row, as few as will do; "interpolate" puts rows between rows.
    """
    known = table[offset : offset + limit].astype(np.float32)
    if method == "group":
        rows = known[grouped(width, limit)]
    else:
        place = np.linspace(0, len(known) - 1, width)
        low = np.floor(place).astype(np.int64)
        share = (place - low).astype(np.float32)[:, None]
        rows = known[low] * (1 - share) + known[np.minimum(low + 1, len(known) - 1)] * share
    return np.concatenate([table[:offset], rows]).astype(table.dtype)


def grouped(width: int, limit: int) -> np.ndarray:
    """The position that each of ``width`` tokens shares with its neighbours, all below ``limit``: (width,) int64."""
    positions: np.ndarray = np.arange(width) // -(-width // limit)
    return positions
