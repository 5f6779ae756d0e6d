"""Tables put together from parts: the general call, and what all of its special cases share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from .._core import table as _native
from ..arrays import one_of
from ..errors import ArgumentError
from .arrays import Bytes
from .generation import Layout, check_missing
from .keys import KeySpace, key_space
from .made import Codes, MadeTable, Recipe, State, with_mean_row
from .table import Dtype, EmbeddingTable

Combine: TypeAlias = Literal["concat", "sum", "multiply"]


class Pick(NamedTuple):
    """A part and which of its rows a key takes.

    ``rule``: "row" (the key itself), "quotient" or "remainder" of the key by ``parameter``, "hash" with ``parameter``
    as salt, or "codes" with ``parameter`` as the column of the codes.
    """

    table: EmbeddingTable
    rule: Literal["row", "quotient", "remainder", "hash", "codes"]
    parameter: int = 0


def composed(
    picks: Sequence[Pick],
    combine: Combine = "concat",
    rows: int | None = None,
    *,
    codes: ArrayLike | None = None,
    keys: Any = None,
    missing: str = "error",
    padding: int | str | None = None,
) -> MadeTable:
    """A table whose rows are put together from rows of other tables; what the functions below are made of.

    Parameters
    ----------
    picks : sequence of Pick
        Parts, each with a rule. A part of one column counts for every column under "sum" and "multiply".
    combine : {"concat", "sum", "multiply"}
        Side by side, added, or multiplied elementwise.
    rows : int, optional
        How many keys there are, from 0 on; None: every 64-bit key has a row, which needs rule "hash" throughout.
    codes : array_like of uint8 or uint16, shape (rows, columns), optional
        For rule "codes".
    keys : array_like of int, sequence of str, "int64" or "str", optional
        With `rows`: the keys of the rows, instead of their numbers. Without: the kind of keys.
    missing, padding
        As in `EmbeddingTable.from_dense`; without `rows` no key is unknown.

    Returns
    -------
    MadeTable
        Over the parts' present rows, which are shared, not copied.

    Raises
    ------
    ArgumentError
        For parts of widths that do not go together, or with fewer rows than the rule can name; codes out of range.

    Examples
    --------
    A row per group times a factor per key (memory-compact embeddings, MEmCom):

    >>> import numpy as np
    >>> group = EmbeddingTable.from_dense(np.array([[1, 2], [3, 4]], np.float32), "f32")
    >>> factor = EmbeddingTable.from_dense(np.array([[1], [1], [10]], np.float32), "f32")
    >>> composed([Pick(group, "remainder", 2), Pick(factor, "row")], "multiply", rows=3).lookup([1, 2]).tolist()
    [[3.0, 4.0], [10.0, 20.0]]
    """
    states: list[State] = []
    numbered: list[list[Any]] = []
    for table, rule, parameter in picks:
        state = part_state(table)
        if all(state is not known for known in states):
            states.append(state)
        at = next(i for i, known in enumerate(states) if known is state)
        numbered.append([at, rule, word("parameter", parameter)])
    matrix = None if codes is None else code_matrix(codes)
    recipe = Recipe("composed", {"picks": numbered, "combine": combine}, rows, tuple(states), matrix)
    if matrix is not None:
        _check_codes(matrix, numbered, states)
    return made_table(recipe, dtype_of(states), keys, missing, padding)


def made_table(recipe: Recipe, dtype: str, keys: Any, missing: str, padding: int | str | None) -> MadeTable:
    rows = recipe.rows
    if rows is not None and (not isinstance(rows, int) or isinstance(rows, bool) or not 0 <= rows < 1 << 62):
        raise ArgumentError(f"rows: expected a number from 0 on, got {rows!r}")
    buckets: Bytes | None = None
    if rows is None:
        if not isinstance(missing, str) or missing not in ("error", "zero"):
            raise ArgumentError(f"missing: expected no policy where every key has a row, got {missing!r}")
        if keys is not None:
            one_of(keys, "keys", ("int64", "str"))
        space = KeySpace("str") if keys == "str" else KeySpace("int64")
    else:
        check_missing(missing, rows)
        space, own = (KeySpace("rows"), None) if keys is None else key_space(keys, rows)
        buckets = None if own is None else _native.build_buckets(own, None)
    bare = recipe.build((rows, None, "error", None, None))
    layout = Layout(dtype, bare.dim, space, missing, None if padding is None else space.one("padding", padding))
    return MadeTable(with_mean_row(layout, recipe, buckets, missing))


def as_table(rows: EmbeddingTable | ArrayLike, dtype: Dtype) -> EmbeddingTable:
    return rows if isinstance(rows, EmbeddingTable) else EmbeddingTable.from_dense(rows, dtype, missing="zero")


def part_state(table: EmbeddingTable) -> State:
    if not isinstance(table, EmbeddingTable):
        raise ArgumentError(f"parts: expected an EmbeddingTable, got {type(table).__name__}")
    state = table._generation
    if state.buckets is not None or state.layout.padding is not None or state.delta is not None:
        raise ArgumentError(
            f"parts: expected tables under row numbers, without padding and unfolded changes, got {table!r}"
        )
    return state


def dtype_of(states: Sequence[State]) -> str:
    return "+".join(sorted({state.layout.dtype for state in states}))


def word(where: str, value: int) -> int:
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or not 0 <= value < 1 << 64:
        raise ArgumentError(f"{where}: expected an integer from 0 to 2^64 exclusive, got {value!r}")
    return int(value)


def code_matrix(codes: ArrayLike) -> Codes:
    array = np.asarray(codes)
    if array.ndim != 2 or array.dtype.kind not in "iu":
        raise ArgumentError(f"codes: expected integers of shape (n, parts), got {array.dtype} of shape {array.shape}")
    if array.size and not 0 <= array.min() <= array.max() < 1 << 16:
        raise ArgumentError(f"codes: expected 0 to 65535, got {array.min()} to {array.max()}")
    if array.size == 0 or array.max() < 256:
        return np.array(array, np.uint8, order="C")
    return np.array(array, np.uint16, order="C")


def _check_codes(codes: Codes, picks: Sequence[Sequence[Any]], states: Sequence[State]) -> None:
    for at, rule, column in picks:
        if rule == "codes" and column < codes.shape[1] and len(codes):
            size, largest = len(states[at].native), codes[:, column].max()
            if largest >= size:
                raise ArgumentError(f"codes: expected codes below {size} in column {column}, got {largest}")
