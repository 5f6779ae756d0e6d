"""The truth that the index is compared with: float64 NumPy, written from the definitions of the metrics."""

from __future__ import annotations

import numpy as np

FLOAT_METRICS = ("cosine", "ip", "l2")
BIT_METRICS = ("hamming", "jaccard")
METRICS = FLOAT_METRICS + BIT_METRICS


def distances(rows: np.ndarray, queries: np.ndarray, metric: str) -> np.ndarray:
    """All distances, float64 (q, n)."""
    if metric in BIT_METRICS:
        a, b = np.unpackbits(queries, axis=1).astype(np.float64), np.unpackbits(rows, axis=1).astype(np.float64)
        both = a @ b.T
        ones_a, ones_b = a.sum(1)[:, None], b.sum(1)[None]
        if metric == "hamming":
            return ones_a + ones_b - 2 * both
        either = ones_a + ones_b - both
        return np.where(either > 0, 1 - both / np.maximum(either, 1), 0.0)
    a, b = queries.astype(np.float64), rows.astype(np.float64)
    if metric == "ip":
        return 1 - a @ b.T
    if metric == "cosine":
        a, b = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (a, b))
        return 1 - a @ b.T
    return np.stack([((b - query) ** 2).sum(1) for query in a]) if len(a) else np.zeros((0, len(b)))


def nearest(rows: np.ndarray, queries: np.ndarray, k: int, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Positions int64 (q, min(k, n)) and distances of the nearest rows; ties go to the smaller position."""
    every = distances(rows, queries, metric)
    order = np.argsort(every, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(every, order, axis=1)


def recall(found: np.ndarray, truth: np.ndarray) -> float:
    """Share of the true neighbours that were found."""
    return float(np.mean([len(np.intersect1d(a, b)) / len(b) for a, b in zip(found, truth, strict=True)]))


def recall_with_ties(rows: np.ndarray, queries: np.ndarray, found: np.ndarray, metric: str) -> float:
    """Share of found rows that are no farther than the true k-th one: right where many rows are equally far."""
    k = found.shape[1]
    every = distances(rows, queries, metric)
    kth = np.partition(every, k - 1, axis=1)[:, k - 1 : k]
    return float((np.take_along_axis(every, found, axis=1) <= kth + 1e-6).mean())


def sample(metric: str, n: int, d: int, seed: int = 0) -> np.ndarray:
    """n vectors of d dimensions around 20 centres (bits around 20 patterns), deterministic."""
    rng = np.random.default_rng([seed, n, d])
    centres = np.random.default_rng(d).normal(size=(20, d))
    if metric in BIT_METRICS:
        patterns = centres[rng.integers(20, size=n)] > 0
        return np.packbits(patterns ^ (rng.random((n, d)) < 0.2), axis=1)
    return (centres[rng.integers(20, size=n)] + rng.normal(size=(n, d))).astype(np.float32)


def same_index(a: object, b: object, queries: np.ndarray, k: int = 10) -> bool:
    """Whether two indexes hold the same ids and answer the same."""
    left, right = a.search(queries, k), b.search(queries, k)  # type: ignore[attr-defined]
    return (
        np.array_equal(a.ids(), b.ids())  # type: ignore[attr-defined]
        and np.array_equal(left.ids, right.ids)
        and np.array_equal(left.distances, right.distances)
    )
