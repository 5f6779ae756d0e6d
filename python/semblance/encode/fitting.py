"""Fitting a token table so that the mean of a text's rows is the teacher's vector of that text.

Arrays: ``bags`` is a sparse matrix (texts, tokens) whose row i holds 1 / length for each token of text i, so that
``bags @ table`` are the pooled vectors; ``targets`` are the teacher's vectors (texts, d).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float32]]

# Large products are done in parts: Ctrl-C is seen between two of them.
_TEXTS, _COLUMNS, _TERMS = 8192, 16, 8192 * 384 * 384


def _parts(n: int, size: int) -> list[slice]:
    return [slice(first, first + size) for first in range(0, n, size)]


def aside(work: Callable[..., Any], *arguments: np.ndarray) -> Any:
    """What ``work`` returns. Ctrl-C ends the wait for it at once, and the work goes on to an end that nobody sees."""
    thread = ThreadPoolExecutor(1, "semblance-fit")
    try:
        return thread.submit(work, *arguments).result()
    finally:
        thread.shutdown(wait=False)


def _product(a: Array, b: Array) -> np.ndarray:
    """``a.T @ b`` in f64."""
    total = np.zeros((a.shape[1], b.shape[1]))
    for part in _parts(len(a), min(_TEXTS, max(1, _TERMS // max(1, total.size)))):
        total += a[part].T.astype(np.float64) @ b[part]
    return total


def bag_matrix(rows: Sequence[Sequence[int]], tokens: int) -> Any:
    """The sparse matrix (texts, tokens) of token shares, f32; each row sums to 1."""
    from scipy.sparse import csr_matrix

    lengths = np.fromiter((len(row) for row in rows), np.int64, len(rows))
    columns = np.fromiter(chain.from_iterable(rows), np.int32, int(lengths.sum()))
    shares = np.repeat((1.0 / np.maximum(lengths, 1)).astype(np.float32), lengths)
    bags = csr_matrix((shares, columns, np.concatenate([[0], np.cumsum(lengths)])), shape=(len(rows), tokens))
    bags.sum_duplicates()
    return bags


def principal_axes(vectors: Array, dims: int) -> Array:
    """The ``dims`` directions (d, dims) that hold most of the vectors' energy about the origin, strongest first.

    The origin and not the mean: unit vectors are compared by their angle at the origin.
    """
    _, axes = aside(np.linalg.eigh, _product(vectors, vectors))
    chosen = axes[:, ::-1][:, :dims]
    signs = np.sign(chosen[np.abs(chosen).argmax(axis=0), np.arange(chosen.shape[1])])  # eigenvectors have no sign
    return np.ascontiguousarray(chosen * signs, np.float32)


def inverse_frequency(counts: np.ndarray, smoothing: float = 1e-3) -> Array:
    """Weight a / (a + p) of each token of relative frequency p (SIF; Arora, Liang and Ma, ICLR 2017), (tokens,)."""
    seen = counts + 1.0
    weights: Array = (smoothing / (smoothing + seen / seen.sum())).astype(np.float32)
    return weights


def linear_guess(bags: Any, targets: Array, tokens: Array, ridge: float = 1e-3) -> Array:
    """The table ``tokens @ map`` whose map (d_in, d) fits best: what tokens that no text contains will keep.

    Parameters
    ----------
    tokens : ndarray
        (tokens, d_in), what the teacher says to each token alone, already weighted.
    """
    pooled = np.concatenate([bags @ tokens[:, part] for part in _parts(tokens.shape[1], _COLUMNS)], axis=1)
    gram = _product(pooled, pooled)
    gram[np.diag_indices_from(gram)] += ridge * np.trace(gram) / len(gram)
    mapping = aside(np.linalg.solve, gram, _product(pooled, targets))
    table: Array = aside(np.matmul, tokens, mapping.astype(np.float32))
    return np.ascontiguousarray(table)


@dataclass(frozen=True)
class _System:
    """The normal equations; their columns have nothing to do with each other."""

    bags: Any
    transposed: Any
    diagonal: Array
    ridge: float

    def solved(self, targets: Array, guess: Array, iterations: int) -> Array:
        """Some columns of the table."""
        table = guess.copy()
        residual = self.transposed @ (targets - self.bags @ table)  # the ridge's own gradient is zero at the guess
        scaled = residual / self.diagonal
        direction = scaled.copy()
        energy = np.einsum("td,td->d", residual, scaled)
        for _ in range(iterations):
            image = self.transposed @ (self.bags @ direction) + np.float32(self.ridge) * direction
            length = energy / np.maximum(np.einsum("td,td->d", direction, image), np.float32(1e-30))
            table += length * direction
            residual -= length * image
            scaled = residual / self.diagonal
            previous, energy = energy, np.einsum("td,td->d", residual, scaled)
            direction = scaled + energy / np.maximum(previous, np.float32(1e-30)) * direction
        return table


def conjugate_gradients(bags: Any, targets: Array, guess: Array, ridge: float, iterations: int) -> Array:
    """The table that minimises |bags @ table - targets|² + ridge · |table - guess|², started from the guess.

    Parameters
    ----------
    ridge : float
        Pull towards the guess; a token seen once in a text of ten weighs 0.01 against it.
    iterations : int
        Steps of the preconditioned method, each column with its own step lengths.

    Returns
    -------
    ndarray
        (tokens, d) f32. Deterministic: the same input gives the same bytes on one machine and library.

    Notes
    -----
    Cost: two sparse products an iteration, never the (tokens, tokens) matrix. Source: Hestenes and Stiefel, 1952.
    """
    transposed = bags.T.tocsr()
    squares = np.asarray(bags.multiply(bags).sum(axis=0), np.float32).reshape(-1, 1)
    system = _System(bags, transposed, squares + np.float32(ridge), ridge)
    columns = [system.solved(targets[:, part], guess[:, part], iterations) for part in _parts(guess.shape[1], _COLUMNS)]
    return np.concatenate(columns, axis=1)


def mean_cosine(bags: Any, targets: Array, table: Array) -> float:
    """Mean cosine between pooled vectors and targets."""
    pooled = bags @ table
    norms = np.linalg.norm(pooled, axis=1) * np.linalg.norm(targets, axis=1)
    return float((np.einsum("nd,nd->n", pooled, targets) / np.maximum(norms, 1e-12)).mean())
