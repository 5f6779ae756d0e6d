"""From a vector per token to a vector per text, and from any vector to unit length."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import ArgumentError, Error

Array = np.ndarray[Any, np.dtype[np.float32]]


def mean(hidden: Array, mask: Array) -> Array:
    """Mean over the tokens of the mask: (n, t, d) and (n, t) → (n, d)."""
    return _weighted(mask / np.maximum(mask.sum(axis=1, keepdims=True), 1), hidden)


def mean_sqrt(hidden: Array, mask: Array) -> Array:
    """Sum over tokens divided by the square root of their number (sentence-transformers' mean_sqrt_len)."""
    return _weighted(mask / np.sqrt(np.maximum(mask.sum(axis=1, keepdims=True), 1)), hidden)


def weighted_mean(hidden: Array, mask: Array) -> Array:
    """Mean with weights 1, 2, 3 … along the text (SGPT, Muennighoff 2022)."""
    weights = mask * np.arange(1, hidden.shape[1] + 1, dtype=np.float32)
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1)
    return _weighted(weights, hidden)


def cls(hidden: Array, mask: Array) -> Array:
    """The first token's vector, whatever the mask."""
    return hidden[:, 0].copy()


def last(hidden: Array, mask: Array) -> Array:
    """The last token's vector."""
    place = hidden.shape[1] - 1 - np.argmax(mask[:, ::-1] > 0, axis=1)
    return np.ascontiguousarray(hidden[np.arange(len(hidden)), place])


def maximum(hidden: Array, mask: Array) -> Array:
    """The largest value of each dimension over the tokens."""
    result: Array = np.where(mask[:, :, None] > 0, hidden, np.float32(-np.inf)).max(axis=1)
    return result


def dupmae(hidden: Array, mask: Array) -> Array:
    """The first token's vector beside the maximum over the ordinary ones, each of unit length: (n, 2 d).

    Ordinary tokens are those between the first and the last. The inner product of two such vectors is the sum of both
    parts' similarities (DupMAE, Liu et al. 2023, without its projection to the vocabulary).
    """
    rows, inner = np.arange(len(mask)), mask.copy()
    inner[rows, hidden.shape[1] - 1 - np.argmax(mask[:, ::-1] > 0, axis=1)] = 0
    inner[:, 0] = 0
    ordinary = np.where(inner.any(axis=1, keepdims=True), inner, mask)
    return np.concatenate([unit(cls(hidden, mask)), unit(maximum(hidden, ordinary))], axis=1)


POOLINGS: dict[str, Callable[[Array, Array], Array]] = {
    "mean": mean,
    "mean_sqrt": mean_sqrt,
    "weighted_mean": weighted_mean,
    "cls": cls,
    "last": last,
    "max": maximum,
    "dupmae": dupmae,
}


def is_known(method: str) -> bool:
    """Whether ``method`` is a pooling, or several joined by "+" whose vectors are put side by side."""
    return all(name in POOLINGS for name in method.split("+"))


def parts(method: str) -> int:
    """How many times wider than a token's vector the pooled one is."""
    return sum(2 if name == "dupmae" else 1 for name in method.split("+"))


def pool(output: np.ndarray, lengths: np.ndarray, method: str, skip: int = 0) -> Array:
    """The vectors of a model's output: (n, t, d) is pooled by ``method``, (n, d) is taken as it is.

    Parameters
    ----------
    output : ndarray
        (n, t, d) or (n, d), floats.
    lengths : ndarray
        (n,) real tokens of each item.
    method : str
        A name of `POOLINGS`, or several joined by "+": "cls+mean" gives (n, 2 d).
    skip : int
        Leading tokens that do not count (an instruction); an item without others is pooled over all of its tokens.

    Raises
    ------
    ArgumentError
        An output of another number of dimensions.
    """
    if output.ndim == 2:
        return np.asarray(output, np.float32)
    if output.ndim != 3:
        raise ArgumentError(f"output: expected shape (n, tokens, d) or (n, d), got {output.shape} (choose output=)")
    hidden, inside = np.asarray(output, np.float32), mask(output.shape[1], lengths, skip)
    pooled = [POOLINGS[name](hidden, inside) for name in method.split("+")]
    return pooled[0] if len(pooled) == 1 else np.concatenate(pooled, axis=1)


def mask(width: int, lengths: np.ndarray, skip: int = 0) -> Array:
    """1 where a token counts: (n, width) f32."""
    columns, lengths = np.arange(width), np.asarray(lengths)[:, None]
    first = np.where(lengths > skip, skip, 0)
    inside: Array = ((columns >= first) & (columns < np.maximum(lengths, 1))).astype(np.float32)
    return inside


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


def _weighted(weights: Array, hidden: Array) -> Array:
    """Each text's weighted sum of its token vectors: (n, t) and (n, t, d) → (n, d)."""
    pooled: Array = np.matmul(weights[:, None, :], hidden)[:, 0]
    return pooled
