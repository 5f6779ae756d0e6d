"""Lexical hits of SQLite's FTS5 beside vector hits, fused by rank."""

from __future__ import annotations

import re
from collections.abc import Sequence

RRF_CONSTANT = 60  # the value of Cormack, Clarke and Buettcher, SIGIR 2009
MAX_WORDS = 256


def match_expression(text: str) -> str | None:
    """Return the FTS5 expression for any of the text's words, each quoted, or None for a text without words.

    Examples
    --------
    >>> match_expression('fear OR "small" spaces*')
    '"fear" OR "OR" OR "small" OR "spaces"'
    """
    words = list(dict.fromkeys(re.findall(r"\w+", text)))[:MAX_WORDS]
    return " OR ".join(f'"{word}"' for word in words) or None


def fuse_ranks(rankings: Sequence[Sequence[int]], k: int) -> list[tuple[int, float]]:
    """Return the k best (key, score) by reciprocal rank fusion: the sum of 1 / (60 + rank) over the rankings.

    Examples
    --------
    >>> [key for key, _ in fuse_ranks([[1, 2, 3], [3, 1]], 2)]
    [1, 3]
    """
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, key in enumerate(ranking, 1):
            scores[key] = scores.get(key, 0.0) + 1.0 / (RRF_CONSTANT + rank)
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))[:k]
