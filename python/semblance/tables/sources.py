"""Tables that store less than their rows: shared by hashing, factored, of mixed width, or seeded."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from .._core import table as _native
from ..arrays import one_of
from ..errors import ArgumentError
from .arrays import Ints, float_array, integer_array
from .composing import Combine, Pick, as_table, composed, dtype_of, made_table, part_state, word
from .generation import Layout
from .keys import KeySpace
from .made import Made, MadeTable, Recipe
from .table import Dtype, EmbeddingTable

AnyKeys: TypeAlias = Literal["int64", "str"]


def hash_rows(keys: ArrayLike, salt: int, rows: int) -> Ints:
    """The rows that keys take under a salt, for training what `hashed` serves.

    Parameters
    ----------
    keys : array_like of int, shape (n,)
        Any 64-bit integers.
    salt : int
        See `salts`.
    rows : int
        Rows of the shared table.

    Returns
    -------
    numpy.ndarray
        int64 (n,), from 0 to rows - 1: high64(mix64(key ^ mix64(salt)) * rows), mix64 being splitmix64's finaliser.

    Raises
    ------
    ArgumentError
        For keys that are no vector of integers, and for no rows.

    Examples
    --------
    >>> hash_rows([1, 2, 3], salt=7, rows=10).tolist()
    [2, 2, 4]
    """
    if not 0 < rows < 1 << 63:
        raise ArgumentError(f"rows: expected a number above 0, got {rows}")
    return _native.hash_rows(integer_array("keys", keys), word("salt", salt), rows)


def salts(feature: str, chunks: int, seed: int = 0) -> list[int]:
    """The salts of a feature's chunks: 64 bits of BLAKE2b of seed, feature and chunk.

    Parameters
    ----------
    feature : str
        Its name.
    chunks : int
        How many.
    seed : int
        Another one gives other salts.

    Returns
    -------
    list of int
        `chunks` of them.

    Raises
    ------
    ArgumentError
        For fewer than one chunk.
    """
    if not isinstance(chunks, int) or not 0 < chunks <= 1 << 12:
        raise ArgumentError(f"chunks: expected 1 to 4096, got {chunks!r}")
    named = [f"{seed}/{chunk}/{feature}".encode() for chunk in range(chunks)]
    return [int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little") for name in named]


def hashed(
    rows: EmbeddingTable | ArrayLike,
    feature: str,
    chunks: int = 1,
    *,
    seed: int = 0,
    combine: Combine = "concat",
    keys: AnyKeys = "int64",
    padding: int | str | None = None,
    dtype: Dtype = "i8",
) -> MadeTable:
    """One feature's view of a table that many features share: several salted look-ups a key (feature multiplexing).

    Parameters
    ----------
    rows : EmbeddingTable, or array_like float32 of shape (m, d)
        The shared rows. Given as a table they are stored once, whatever number of features reads them.
    feature : str
        Its name; features with other names hash apart. See `salts` and `hash_rows` for training.
    chunks : int
        Look-ups a key.
    seed : int
        Of the salts.
    combine : {"concat", "sum", "multiply"}
        How a key's chunks become its row: of chunks * d columns, or of d.
    keys : {"int64", "str"}
        Every key of the kind has a row.
    padding, dtype
        As in `EmbeddingTable.from_dense`.

    Returns
    -------
    MadeTable

    Raises
    ------
    ArgumentError
        For no rows, no chunks, and tables with keys of their own.

    Notes
    -----
    Coleman et al., "Unified Embedding: Battle-Tested Feature Representations for Web-Scale ML Systems", NeurIPS 2023;
    with ``combine="sum"`` hash embeddings (Svenstrup et al., NeurIPS 2017).

    Examples
    --------
    >>> import numpy as np
    >>> shared = EmbeddingTable.from_dense(np.random.default_rng(0).normal(size=(1000, 8)).astype(np.float32))
    >>> fields = {"user": hashed(shared, "user", 2), "item": hashed(shared, "item", 4)}
    >>> fields["item"].lookup([123456789012]).shape
    (1, 32)
    """
    shared = as_table(rows, dtype)
    picks = [Pick(shared, "hash", salt) for salt in salts(feature, chunks, seed)]
    return composed(picks, combine, keys=keys, padding=padding)


def block_shared(
    values: ArrayLike,
    dim: int,
    feature: str,
    block: int | None = None,
    *,
    seed: int = 0,
    keys: AnyKeys = "int64",
    padding: int | str | None = None,
    dtype: Literal["f32", "f16", "bf16"] = "f16",
) -> MadeTable:
    """Rows whose blocks lie anywhere in one shared array (random offset block embeddings, ROBE).

    Parameters
    ----------
    values : array_like, float32 of shape (m,), or the table of another feature over the same values
        The shared array. It is circular: a block may begin at its end and go on at its start.
    dim : int
        Columns of a row, a multiple of `block`.
    feature, seed, keys, padding
        As in `hashed`. Block c of key k begins at ``hash_rows([k], salts(feature, dim // block, seed)[c], m)``.
    block : int, optional
        Values that lie together; `dim` unless given.
    dtype : {"f32", "f16", "bf16"}
        How the values are stored; formats with a scale a row cannot overlap.

    Returns
    -------
    MadeTable

    Raises
    ------
    ArgumentError
        For a block that does not divide `dim`, fewer values than a block, and values that the format cannot hold.

    Notes
    -----
    Desai, Chou, Shrivastava, "Random Offset Block Embedding Array (ROBE) for CriteoTB benchmark MLPerf DLRM Model",
    MLSys 2022, with the hash of `hash_rows` in the place of the paper's universal one.

    Examples
    --------
    >>> import numpy as np
    >>> user = block_shared(np.arange(100, dtype=np.float32), 4, "user", block=2)
    >>> item = block_shared(user, 4, "item", block=2)
    >>> user.lookup([5]).shape, item.nbytes == user.nbytes
    ((1, 4), True)
    """
    block = dim if block is None else block
    if not 0 < block <= dim or dim % block:
        raise ArgumentError(f"block: expected a divisor of dim ({dim}), got {block}")
    if isinstance(values, MadeTable):
        array = values._generation.recipe.parts[0]
        if not isinstance(array, Made) or array.recipe.kind != "overlapping" or array.layout.dim != block:
            raise ArgumentError(f"values: expected a table of shared blocks of {block}, got {values!r}")
    else:
        array = _overlapping(values, block, dtype)
    picks = [Pick(MadeTable(array), "hash", salt) for salt in salts(feature, dim // block, seed)]
    return composed(picks, keys=keys, padding=padding)


def quotient_remainder(
    quotient: EmbeddingTable | ArrayLike,
    remainder: EmbeddingTable | ArrayLike,
    rows: int | None = None,
    *,
    combine: Combine = "multiply",
    missing: str = "error",
    padding: int | None = None,
    dtype: Dtype = "i8",
) -> MadeTable:
    """A row for every key out of two small tables: one row by key // m, one by key % m.

    Parameters
    ----------
    quotient, remainder : EmbeddingTable, or array_like float32 of shape (q, d) and (m, d)
        m is the number of rows of `remainder`.
    rows : int, optional
        Keys, at most q * m, which is the default.
    combine : {"multiply", "sum", "concat"}
        Elementwise product, sum, or side by side.
    missing, padding, dtype
        As in `EmbeddingTable.from_dense`.

    Returns
    -------
    MadeTable

    Raises
    ------
    ArgumentError
        For empty tables, too many rows, and tables of widths that do not go together.

    Notes
    -----
    Shi et al., "Compositional Embeddings Using Complementary Partitions for Memory-Efficient Recommendation Systems",
    KDD 2020.

    Examples
    --------
    >>> import numpy as np
    >>> q, r = np.array([[1, 1], [2, 3]], np.float32), np.array([[5, 6], [7, 8]], np.float32)
    >>> quotient_remainder(q, r, dtype="f32").lookup([3]).tolist()
    [[14.0, 24.0]]
    """
    tables = as_table(quotient, dtype), as_table(remainder, dtype)
    divisor = len(tables[1])
    if divisor == 0:
        raise ArgumentError("remainder: expected at least one row, got none")
    rows = len(tables[0]) * divisor if rows is None else rows
    picks = [Pick(tables[0], "quotient", divisor), Pick(tables[1], "remainder", divisor)]
    return composed(picks, combine, rows, missing=missing, padding=padding)


def mixed(
    tables: Sequence[EmbeddingTable | ArrayLike],
    *,
    missing: str = "error",
    padding: int | None = None,
    dtype: Dtype = "i8",
) -> MadeTable:
    """Tables of different widths under one numbering; narrower rows are filled up with zeros.

    Parameters
    ----------
    tables : sequence of EmbeddingTable or array_like float32 of shape (n, d)
        A block of rows each, as one field or one band of frequencies; the first row of a table follows the last one of
        the table before. They may be pruned, or made themselves.
    missing, padding
        As in `EmbeddingTable.from_dense`.
    dtype : str
        The format of rows that are given as arrays.

    Returns
    -------
    MadeTable
        As wide as the widest of them.

    Raises
    ------
    ArgumentError
        For no table, and for tables with keys of their own or without a number of rows.

    Notes
    -----
    Ginart et al., "Mixed Dimension Embeddings", ISIT 2021; prefixes of one space as in Lyu et al., "OptEmbed",
    CIKM 2022.

    Examples
    --------
    >>> import numpy as np
    >>> table = mixed([np.ones((2, 3), np.float32), np.ones((5, 1), np.float32)], dtype="f32")
    >>> len(table), table.lookup([1, 2]).tolist()
    (7, [[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
    """
    parts = [part_state(as_table(table, dtype)) for table in tables]
    counts = [part.live_count() for part in parts]
    if not parts or None in counts:
        raise ArgumentError("tables: expected at least one table, each with a number of rows, got others")
    recipe = Recipe("mixed", {}, sum(count or 0 for count in counts), tuple(parts))
    return made_table(recipe, dtype_of(parts), None, missing, padding)


def seeded(
    dim: int,
    rows: int | None = None,
    *,
    seed: int = 0,
    deviation: float | None = None,
    distribution: Literal["normal", "uniform"] = "normal",
    keys: AnyKeys = "int64",
    missing: str = "error",
    padding: int | str | None = None,
) -> MadeTable:
    """Random rows that are generated when they are read, and nothing stored.

    Parameters
    ----------
    dim : int
        Columns.
    rows : int, optional
        Keys from 0 on; None: every key has a row.
    seed : int
        Another one gives other rows.
    deviation : float, optional
        Standard deviation of the values, whose mean is 0; 1 / sqrt(dim) unless given: rows of length about 1.
    distribution : {"normal", "uniform"}
        "normal" is a sum of 64 coin flips and a uniform value: kurtosis 2.97, no value beyond 8.1 deviations.
    keys : {"int64", "str"}
        Without `rows`: the kind of keys.
    missing, padding
        As in `EmbeddingTable.from_dense`.

    Returns
    -------
    MadeTable
        The same rows on every machine and in every version.

    Raises
    ------
    ArgumentError
        For no columns, a deviation that is not above 0, and an unknown distribution.

    Notes
    -----
    Huang et al., "Lexinvariant Language Models", NeurIPS 2023.

    Examples
    --------
    >>> a, b = seeded(64, seed=1), seeded(64, seed=1)
    >>> bool((a.lookup([7]) == b.lookup([7])).all()), a.nbytes
    (True, 0)
    """
    if not isinstance(dim, int) or not 0 < dim <= 1 << 20:
        raise ArgumentError(f"dim: expected 1 to 2^20, got {dim!r}")
    spread = dim**-0.5 if deviation is None else float(deviation)
    parameters = {"dim": dim, "seed": word("seed", seed), "deviation": spread, "distribution": distribution}
    return made_table(Recipe("seeded", parameters, rows), "seeded", keys if rows is None else None, missing, padding)


def _overlapping(values: ArrayLike, block: int, dtype: str) -> Made:
    flat = float_array("values", values, "(m,)", 1)
    if len(flat) < block:
        raise ArgumentError(f"values: expected at least a block of {block}, got {len(flat)}")
    one_of(dtype, "dtype", ("f32", "f16", "bf16"))
    circle = np.concatenate([flat, flat[: block - 1]])
    stored = _native.encode(np.ascontiguousarray(circle[:, None]), dtype, 1, None)
    recipe = Recipe("overlapping", {"dim": block, "dtype": dtype}, len(flat), values=stored)
    return Made(Layout(dtype, block, KeySpace("rows"), "error"), recipe)
