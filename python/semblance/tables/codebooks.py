"""Tables of codebooks: trained here by k-means, or elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._core import table as _native
from ..arrays import count
from ..errors import ArgumentError
from .arrays import Floats, Ints, float_array, thread_count
from .composing import Combine, Pick, as_table, code_matrix, composed, word
from .made import MadeTable
from .table import Dtype, EmbeddingTable, Progress

_LARGEST = 1e15  # squared distances of such values still fit f32


def from_codes(
    codebooks: Sequence[EmbeddingTable | ArrayLike],
    codes: ArrayLike,
    combine: Combine = "concat",
    *,
    keys: Any = None,
    missing: str = "error",
    padding: int | str | None = None,
    dtype: Dtype = "f32",
) -> MadeTable:
    """Serve codebooks that are there already, as product or residual quantisers, DPQ, MGQE and RQ-VAE leave them.

    Parameters
    ----------
    codebooks : sequence of EmbeddingTable or array_like float32 of shape (k, d)
        One for each column of `codes`.
    codes : array_like of uint8 or uint16, shape (n, parts)
        Every row's codeword in every codebook.
    combine : {"concat", "sum", "multiply"}
        "concat" for product codebooks, "sum" for residual ones.
    keys, missing, padding
        As in `EmbeddingTable.from_dense`.
    dtype : str
        The format of codebooks that are given as arrays.

    Returns
    -------
    MadeTable
        With `MadeTable.codes`.

    Raises
    ------
    ArgumentError
        For codes of another width than there are codebooks, or beyond them.

    Examples
    --------
    >>> import numpy as np
    >>> books = [np.array([[1.0], [2.0]], np.float32), np.array([[30.0], [40.0]], np.float32)]
    >>> from_codes(books, np.array([[0, 1], [1, 1]], np.uint8), "sum").lookup([0, 1]).tolist()
    [[41.0], [42.0]]
    """
    matrix = code_matrix(codes)
    if matrix.shape[1] != len(codebooks):
        raise ArgumentError(f"codes: expected shape (n, {len(codebooks)}), one column a codebook, got {matrix.shape}")
    picks = [Pick(as_table(book, dtype), "codes", column) for column, book in enumerate(codebooks)]
    return composed(picks, combine, len(matrix), codes=matrix, keys=keys, missing=missing, padding=padding)


def product(
    weights: ArrayLike,
    subspaces: int = 8,
    codewords: int = 256,
    *,
    dtype: Dtype = "f32",
    keys: Any = None,
    missing: str = "error",
    padding: int | str | None = None,
    iterations: int = 25,
    sample: int = 65536,
    seed: int = 0,
    threads: int = 0,
    progress: Progress | None = None,
) -> MadeTable:
    """Product quantisation: the columns in equal slices, each row's slice replaced by the nearest of its codewords.

    Parameters
    ----------
    weights : array_like, float32 or float16 of shape (n, d)
        Finite.
    subspaces : int
        Slices, a divisor of d; one code each.
    codewords : int
        In each codebook, at most 65536 and at most n. Up to 256 cost a byte a code, more cost two.
    dtype : str
        The format of the codebooks.
    keys, missing, padding
        As in `EmbeddingTable.from_dense`.
    iterations : int
        Of Lloyd's algorithm, at most.
    sample : int
        Rows that are trained on; 0 = all.
    seed : int
        The same seed gives the same table, whatever the number of threads.
    threads : int
        0 = all cores, 1 = the calling thread only.
    progress : callable(done, total), optional
        Told how far each codebook has come.

    Returns
    -------
    MadeTable
        With `MadeTable.codes`.

    Raises
    ------
    ArgumentError
        For weights that are not finite, fewer rows than codewords, and what `EmbeddingTable.from_dense` refuses.

    Notes
    -----
    Cost: iterations * sample * codewords * d multiplications, then n * codewords * d. Jegou, Douze,
    Schmid, "Product Quantization for Nearest Neighbor Search", TPAMI 2011.

    Examples
    --------
    >>> import numpy as np
    >>> weights = np.random.default_rng(0).normal(size=(1000, 16)).astype(np.float32)
    >>> table = product(weights, subspaces=4, codewords=64)
    >>> table.codes.shape, float(((table.lookup(np.arange(1000)) - weights) ** 2).mean()) < 0.5
    ((1000, 4), True)
    """
    dense = _trainable(weights, codewords)
    width, rest = divmod(dense.shape[1], count(subspaces, "subspaces", 1, dense.shape[1]))
    if rest:
        raise ArgumentError(f"subspaces: expected a divisor of {dense.shape[1]} columns, got {subspaces}")
    options = (iterations, sample, threads, progress)
    trained = [
        _kmeans(dense[:, s * width : (s + 1) * width], codewords, _book_seed(seed, s), options)
        for s in range(subspaces)
    ]
    codes = np.stack([nearest for _, nearest in trained], axis=1)
    books = [centres for centres, _ in trained]
    return from_codes(books, codes, "concat", keys=keys, missing=missing, padding=padding, dtype=dtype)


def residual(
    weights: ArrayLike,
    levels: int = 4,
    codewords: int = 256,
    *,
    dtype: Dtype = "f32",
    keys: Any = None,
    missing: str = "error",
    padding: int | str | None = None,
    iterations: int = 25,
    sample: int = 65536,
    seed: int = 0,
    threads: int = 0,
    progress: Progress | None = None,
) -> MadeTable:
    """Residual quantisation: a sum of codewords, each level's trained on what the levels before leave.

    Parameters
    ----------
    weights : array_like, float32 or float16 of shape (n, d)
        Finite.
    levels : int
        Codebooks, coarse to fine.
    codewords : int
        In each codebook, at most 65536 and at most n. Up to 256 cost a byte a code, more cost two.
    dtype : str
        The format of the codebooks.
    keys, missing, padding
        As in `EmbeddingTable.from_dense`.
    iterations : int
        Of Lloyd's algorithm, at most.
    sample : int
        Rows that are trained on; 0 = all.
    seed : int
        The same seed gives the same table, whatever the number of threads.
    threads : int
        0 = all cores, 1 = the calling thread only.
    progress : callable(done, total), optional
        Told how far each codebook has come.

    Returns
    -------
    MadeTable
        With `MadeTable.codes`, which `semantic_ids` makes identifiers of.

    Raises
    ------
    ArgumentError
        For weights that are not finite, fewer rows than codewords, and what `EmbeddingTable.from_dense` refuses.

    Notes
    -----
    Cost: levels * iterations * sample * codewords * d multiplications. Chen, Guan, Wang, "Approximate
    Nearest Neighbor Search by Residual Vector Quantization", Sensors 2010.

    Examples
    --------
    >>> import numpy as np
    >>> weights = np.random.default_rng(0).normal(size=(500, 8)).astype(np.float32)
    >>> table = residual(weights, levels=2, codewords=16, missing="zero")
    >>> semantic_ids(table, unique=False).shape, table.lookup(-1).tolist() == [0.0] * 8
    ((500, 2), True)
    """
    dense = _trainable(weights, codewords)
    count(levels, "levels", 1, 1 << 16)
    left, books, codes = dense.copy(), [], []
    for level in range(levels):
        centres, nearest = _kmeans(left, codewords, _book_seed(seed, level), (iterations, sample, threads, progress))
        stored = EmbeddingTable.from_dense(centres, dtype)
        left -= stored.lookup(nearest, threads=threads)
        books.append(stored)
        codes.append(nearest)
    return from_codes(books, np.stack(codes, axis=1), "sum", keys=keys, missing=missing, padding=padding)


def _book_seed(seed: int, book: int) -> int:
    return (word("seed", seed) + book * 0x9E3779B97F4A7C15) % (1 << 64)


def semantic_ids(table: EmbeddingTable, *, unique: bool = True) -> Ints:
    """The codes of a table of codebooks as identifiers of its rows, coarse to fine for `residual`.

    Parameters
    ----------
    table : EmbeddingTable
        Of `residual`, `product` or `from_codes`.
    unique : bool
        Add a last column that tells apart rows with equal codes: 0 for the first of them, 1 for the next, and so on.

    Returns
    -------
    numpy.ndarray
        int64 (n, parts), or (n, parts + 1) if `unique`.

    Raises
    ------
    ArgumentError
        For a table without codebooks.

    Notes
    -----
    Rajput et al., "Recommender Systems with Generative Retrieval", NeurIPS 2023.
    """
    if not isinstance(table, MadeTable) or table._generation.recipe.codes is None:
        raise ArgumentError(f"table: expected a table of codebooks, got {table!r}")
    codes = table.codes.astype(np.int64)
    if not unique:
        return codes
    _, group = np.unique(codes, axis=0, return_inverse=True)
    group = group.reshape(-1)
    order = np.argsort(group, kind="stable")
    first = np.searchsorted(group[order], group[order])
    rank = np.empty(len(codes), np.int64)
    rank[order] = np.arange(len(codes)) - first
    return np.concatenate([codes, rank[:, None]], axis=1)


def _trainable(weights: ArrayLike, codewords: int) -> Floats:
    dense = float_array("weights", weights, "(n, d)", 2)
    if not dense.size:
        raise ArgumentError(f"weights: expected at least one row and one column, got shape {dense.shape}")
    if not np.abs(dense).max() <= _LARGEST:  # false for NaN
        raise ArgumentError(f"weights: expected finite values within {_LARGEST:g}, got others")
    if isinstance(codewords, bool) or not isinstance(codewords, int) or not 0 < codewords <= min(len(dense), 1 << 16):
        raise ArgumentError(
            f"codewords: expected 1 to {min(len(dense), 1 << 16)} for {len(dense)} rows, got {codewords!r}"
        )
    return dense


def _kmeans(
    rows: Floats, codewords: int, seed: int, options: tuple[int, int, int, Progress | None]
) -> tuple[Floats, NDArray[np.uint16]]:
    iterations, sample, threads, progress = options
    count(iterations, "iterations", 1, 1 << 31)
    count(sample, "sample", 0, 1 << 62)
    block = np.ascontiguousarray(rows)
    return _native.kmeans(block, codewords, iterations, sample, seed, thread_count(threads), progress)
