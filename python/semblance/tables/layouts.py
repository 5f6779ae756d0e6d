"""Rows in the layouts of FBGEMM's table-batched embeddings and of torch's quantised embedding bags, byte for byte."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..arrays import one_of
from ..errors import ArgumentError
from .arrays import Bytes
from .generation import DTYPES, Generation, Layout, check_missing
from .keys import KeySpace
from .table import EmbeddingTable

Source: TypeAlias = Literal["fbgemm", "torch"]
_TORCH = ("i8", "i4", "i2")
_HEADLESS = ("f32", "f16", "bf16")


def export_rows(table: EmbeddingTable, layout: Source = "fbgemm") -> Bytes:
    """The table's base rows as another library reads them.

    Parameters
    ----------
    table
        A table without unfolded changes (`EmbeddingTable.compact`).
    layout
        "fbgemm": head (fp16 scale, fp16 bias) then codes; fp8 rows have no head, so their scale must be 1. The two
        tensors of ``split_embedding_weights`` are the columns from 4 on and the first 4. "torch": codes then head, as
        ``torch.ops.quantized.embedding_bag_*_rowwise_offsets`` takes them; the byte format's head is f32.

    Returns
    -------
    (n, row bytes) uint8.

    Raises
    ------
    ArgumentError
        Where the layout cannot hold the table.

    Examples
    --------
    >>> import numpy as np
    >>> from semblance.tables import EmbeddingTable, export_rows
    >>> export_rows(EmbeddingTable.from_dense(np.eye(2, dtype=np.float32), "i4"), "torch").shape
    (2, 5)
    """
    generation = table._generation
    if generation.delta is not None:
        raise ArgumentError("table: expected one without unfolded changes, got some (call compact first)")
    dtype, rows = generation.layout.dtype, generation.rows
    if layout == "torch":
        _require_torch(dtype)
        head = np.ascontiguousarray(rows[:, :4])
        if dtype == "i8":
            head = head.view(np.float16).astype(np.float32).view(np.uint8)
        return np.concatenate([rows[:, 4:], head], axis=1)
    if layout != "fbgemm":
        raise ArgumentError(f"layout: expected 'fbgemm' or 'torch', got {layout!r}")
    if dtype != "fp8":
        return rows.copy()
    if len(rows) and not (np.ascontiguousarray(rows[:, :4]) == _unit_head()).all():
        raise ArgumentError("table: expected fp8 rows of scale 1, which is all that fbgemm knows, got other scales")
    return np.ascontiguousarray(rows[:, 4:])


def import_rows(rows: Bytes, dtype: str, dim: int, layout: Source = "fbgemm", missing: str = "error") -> EmbeddingTable:
    """A table over another library's rows; their codes are taken over bit by bit.

    Parameters
    ----------
    rows
        (n, row bytes) uint8 in the form of `export_rows`.
    dtype, dim
        The row format, and the values in a row.
    missing
        "error", "zero" or "row:n".

    Raises
    ------
    ArgumentError
        For rows of another width, NaN or infinite heads, and f32 heads that fp16 cannot hold exactly.
    """
    one_of(dtype, "dtype", DTYPES)
    one_of(layout, "layout", ("fbgemm", "torch"))
    if isinstance(missing, str) and missing == "mean":
        raise ArgumentError("missing: expected 'zero', 'error' or 'row:n' for rows that are encoded, got 'mean'")
    if not isinstance(rows, np.ndarray) or rows.dtype != np.uint8 or rows.ndim != 2:
        raise ArgumentError(f"rows: expected uint8 of shape (n, row bytes), got {type(rows).__name__}")
    check_missing(missing, len(rows))
    settled = Layout(dtype, dim, KeySpace("rows"), missing)
    native = _from_torch(rows, dtype) if layout == "torch" else _from_fbgemm(rows, dtype)
    if native.shape[1] != settled.row_bytes:
        raise ArgumentError(f"rows: expected {settled.row_bytes} bytes a row in our layout, got {native.shape[1]}")
    _check_finite(native, dtype)
    row = native[int(missing[4:])].copy() if missing.startswith("row:") else None
    return EmbeddingTable(Generation(settled, native, None, row))


def _from_fbgemm(rows: Bytes, dtype: str) -> Bytes:
    if dtype != "fp8":
        return np.ascontiguousarray(rows)
    return np.concatenate([np.broadcast_to(_unit_head(), (len(rows), 4)), rows], axis=1)


def _from_torch(rows: Bytes, dtype: str) -> Bytes:
    _require_torch(dtype)
    size = 8 if dtype == "i8" else 4
    if rows.shape[1] <= size:
        raise ArgumentError(f"rows: expected codes and a head of {size} bytes, got {rows.shape[1]} bytes a row")
    codes, head = rows[:, :-size], np.ascontiguousarray(rows[:, -size:])
    if dtype == "i8":
        wide = head.view(np.float32)
        with np.errstate(over="ignore"):
            half = wide.astype(np.float16)
        if not np.array_equal(half.astype(np.float32), wide):
            raise ArgumentError("rows: expected scales and biases that fp16 holds exactly, got others")
        head = half.view(np.uint8)
    return np.concatenate([head, codes], axis=1)


def _check_finite(rows: Bytes, dtype: str) -> None:
    if dtype == "bf16":
        values: NDArray[np.floating] = (rows.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    elif dtype in _HEADLESS:
        values = rows.view(np.float32 if dtype == "f32" else np.float16)
    else:
        values = np.ascontiguousarray(rows[:, :4]).view(np.float16)
    if not np.isfinite(values).all():
        raise ArgumentError("rows: expected finite values, scales and biases, got NaN or infinity")


def _require_torch(dtype: str) -> None:
    if dtype not in _TORCH:
        raise ArgumentError(f"dtype: expected one of {', '.join(_TORCH)} in torch's layout, got {dtype!r}")


def _unit_head() -> Bytes:
    return np.array([1, 0], np.float16).view(np.uint8)
