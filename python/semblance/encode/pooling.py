"""From a vector per token to a vector per text, and from any vector to unit length."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import ArgumentError, Error

Array = np.ndarray[Any, np.dtype[np.float32]]


def mean(hidden: Array, lengths: np.ndarray) -> Array:
    """Mean over each row's real tokens: (n, t, d) and lengths (n,) → (n, d)."""
    weights = _mask(hidden, lengths) / np.maximum(lengths, 1)[:, None].astype(np.float32)
    return _weighted(weights, hidden)


def mean_sqrt(hidden: Array, lengths: np.ndarray) -> Array:
    """Sum over real tokens divided by the square root of their number (sentence-transformers' mean_sqrt_len)."""
    weights = _mask(hidden, lengths) / np.sqrt(np.maximum(lengths, 1))[:, None].astype(np.float32)
    return _weighted(weights, hidden)


def weighted_mean(hidden: Array, lengths: np.ndarray) -> Array:
    """Mean with weights 1, 2, 3 … along the text (SGPT, Muennighoff 2022)."""
    weights = _mask(hidden, lengths) * np.arange(1, hidden.shape[1] + 1, dtype=np.float32)
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1)
    return _weighted(weights, hidden)


def cls(hidden: Array, lengths: np.ndarray) -> Array:
    """The first token's vector."""
    return np.ascontiguousarray(hidden[:, 0])


def last(hidden: Array, lengths: np.ndarray) -> Array:
    """The last real token's vector."""
    return np.ascontiguousarray(hidden[np.arange(len(hidden)), np.maximum(lengths, 1) - 1])


def maximum(hidden: Array, lengths: np.ndarray) -> Array:
    """The largest value of each dimension over the real tokens."""
    inside = _mask(hidden, lengths)[:, :, None] > 0
    result: Array = np.where(inside, hidden, np.float32(-np.inf)).max(axis=1)
    return result


POOLINGS: dict[str, Callable[[Array, np.ndarray], Array]] = {
    "mean": mean,
    "mean_sqrt": mean_sqrt,
    "weighted_mean": weighted_mean,
    "cls": cls,
    "last": last,
    "max": maximum,
}


def pool(output: np.ndarray, lengths: np.ndarray, method: str) -> Array:
    """The vectors (n, d) of a model's output: (n, t, d) is pooled by ``method``, (n, d) is taken as it is.

    Raises
    ------
    ArgumentError
        An output of another number of dimensions.
    """
    if output.ndim == 2:
        return np.asarray(output, np.float32)
    if output.ndim != 3:
        raise ArgumentError(f"output: expected shape (n, tokens, d) or (n, d), got {output.shape} (choose output=)")
    return POOLINGS[method](np.asarray(output, np.float32), lengths)


def shortened(vectors: Array, dims: int | None) -> Array:
    """The first ``dims`` dimensions (Matryoshka truncation, Kusupati et al. 2022); all for None."""
    return vectors if dims is None else np.ascontiguousarray(vectors[:, :dims])


def unit(vectors: Array) -> Array:
    """Rows scaled in place to unit length; a row of zeros stays."""
    norms = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))[:, None]
    np.divide(vectors, norms, out=vectors, where=norms > 0)
    return vectors


def check_finite(vectors: Array, where: str) -> None:
    """Raise when a model gave NaN or inf, naming the first such item."""
    # a sum is finite unless an item is not (or overflows): one pass, no mask
    if np.isfinite(vectors.sum(dtype=np.float64)):
        return
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise Error(f"{where}: expected finite numbers from the model, got NaN or inf for item {int(bad[0])}")


def _mask(hidden: Array, lengths: np.ndarray) -> Array:
    """1 where a token is real: (n, t) f32."""
    return (np.arange(hidden.shape[1]) < np.asarray(lengths)[:, None]).astype(np.float32)


def _weighted(weights: Array, hidden: Array) -> Array:
    """Each text's weighted sum of its token vectors: (n, t) and (n, t, d) → (n, d)."""
    pooled: Array = np.matmul(weights[:, None, :], hidden)[:, 0]
    return pooled
