"""Run a query on one snapshot: vector hits, word hits, the set of allowed records."""

from __future__ import annotations

import threading
from collections import OrderedDict
from sqlite3 import Connection
from typing import Any, NamedTuple

import numpy as np

from . import store
from .encoding import EncoderSlot
from .hybrid import fuse_ranks, match_expression
from .live import LiveIndex
from .records import RecordId, checked_vectors
from .schema import Settings
from .where import Condition

HYBRID_POOL = 100  # hits of each kind that are fused, at least
_CACHED_CONDITIONS = 16


class Hit(NamedTuple):
    """A found record; a higher score is a better one (similarity, or the fused rank score of a hybrid search)."""

    id: RecordId
    score: float
    record: dict[str, Any]


class Searcher:
    """Answers queries; the caller holds a snapshot that the live index equals."""

    def __init__(self, settings: Settings, encoder: EncoderSlot, live: LiveIndex) -> None:
        self._settings = settings
        self._encoder = encoder
        self._live = live
        self._allowed: OrderedDict[tuple[Condition, int], tuple[Any, int]] = OrderedDict()
        self._allowed_lock = threading.Lock()

    def run(
        self,
        connection: Connection,
        vectors: np.ndarray,
        texts: list[str] | None,
        *,
        k: int,
        condition: Condition | None,
        ef: int | None,
    ) -> list[list[Hit]]:
        """Return the hits of each query; with texts, vector and word hits are fused."""
        ranked = self._ranked(connection, vectors, texts, k=k, condition=condition, ef=ef)
        found = store.records_by_key(connection, {key for ranking in ranked for key, _ in ranking})
        return [[Hit(found[key]["id"], score, found[key]) for key, score in ranking] for ranking in ranked]

    def queries(self, query: Any) -> tuple[list[str] | None, np.ndarray, bool]:
        """Check and encode; return (texts or None, vectors f32 (q, d), whether it was one query)."""
        single = isinstance(query, str)
        if single or (isinstance(query, list | tuple) and query and all(isinstance(text, str) for text in query)):
            texts = [query] if single else list(query)
            return texts, self._encoder.encode(texts, "query"), single
        ndim = getattr(query, "ndim", None)
        if ndim is None:
            ndim = 2 if isinstance(query, list | tuple) and query and np.ndim(query[0]) == 1 else 1
        vectors = checked_vectors(query, "query", self._settings.dim, 2 if ndim == 2 else 1)
        return None, vectors.reshape(-1, self._settings.dim), ndim != 2

    def _ranked(
        self,
        connection: Connection,
        vectors: np.ndarray,
        texts: list[str] | None,
        *,
        k: int,
        condition: Condition | None,
        ef: int | None,
    ) -> list[list[tuple[int, float]]]:
        """Return for each query the best (key, score)."""
        depth = min(max(k, HYBRID_POOL) if texts else k, len(self._live.index))
        allowed = None if condition is None else self._allowed_keys(connection, condition)
        if not depth or (allowed is not None and not allowed[1]):
            return [[] for _ in vectors]
        beam = max(ef, depth) if ef is not None and ef >= min(k, depth) else ef
        ids, distances = self._live.index.search(vectors, depth, ef=beam, allowed=allowed[0] if allowed else None)
        scores = (-distances if self._settings.metric == "l2" else 1.0 - distances).tolist()
        ranked = [
            [(key, score) for key, score in zip(row, row_scores, strict=True) if key >= 0]
            for row, row_scores in zip(ids.tolist(), scores, strict=True)
        ]
        if texts is None:
            return ranked
        lexical = (self._word_hits(connection, text, depth, condition) for text in texts)
        return [fuse_ranks([[key for key, _ in near], words], k) for near, words in zip(ranked, lexical, strict=True)]

    def _word_hits(self, connection: Connection, text: str, depth: int, condition: Condition | None) -> list[int]:
        match = match_expression(text)
        return [] if match is None else store.word_hits(connection, match, depth, condition)

    def _allowed_keys(self, connection: Connection, condition: Condition) -> tuple[Any, int]:
        """Return (the index's set of allowed keys, how many), remembered as long as nothing changes."""
        name = (condition, self._live.sequence)
        with self._allowed_lock:
            found = self._allowed.get(name)
        if found is None:
            keys = store.matching_keys(connection, condition)
            found = (self._live.index.allow(keys) if len(keys) else None, len(keys))
            with self._allowed_lock:
                self._allowed[name] = found
                while len(self._allowed) > _CACHED_CONDITIONS:
                    self._allowed.popitem(last=False)
        return found
