"""Embedding weights from files: NumPy, safetensors and Parquet. Nothing is unpickled."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .errors import ArgumentError, FormatError, UnsupportedError

SUFFIXES = (".npy", ".safetensors", ".parquet")
_PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".npz", ".joblib")


class Weights(NamedTuple):
    """Rows (n, d) of float32 or float16, and their keys where the file has some."""

    rows: NDArray[Any]
    keys: NDArray[np.int64] | list[str] | None
    name: str


def read_weights(
    path: str, tensor: str | None = None, column: str | None = None, key_column: str | None = None
) -> Weights:
    """Read a matrix of weights.

    Parameters
    ----------
    path : str
        ``.npy`` with a float matrix (n, d), ``.safetensors``, or ``.parquet`` with a column of lists of equal length.
    tensor : str, optional
        Which tensor of a safetensors file; needed where more than one is a float matrix.
    column, key_column : str, optional
        Columns of a Parquet file: the rows (needed where more than one holds lists), and their keys.

    Returns
    -------
    Weights
        float64 and bfloat16 come as float32.

    Raises
    ------
    ArgumentError
        No such file, tensor or column, or several to choose from.
    FormatError
        A damaged file, or one that holds something else than a float matrix.
    UnsupportedError
        A pickle; a file whose reader is not installed.
    """
    suffix = os.path.splitext(path)[1].lower()
    if suffix in _PICKLES:
        raise UnsupportedError(
            f"{path}: expected .npy, .safetensors or .parquet, got a file that may be a pickle, which is never opened "
            "(write torch weights with safetensors.torch.save_file)"
        )
    if suffix not in SUFFIXES:
        raise ArgumentError(f"{path}: expected a file named {', '.join(SUFFIXES)}, got another")
    if not os.path.isfile(path):
        raise ArgumentError(f"{path}: expected a file, got {'a folder' if os.path.isdir(path) else 'nothing there'}")
    if (suffix != ".safetensors" and tensor) or (suffix != ".parquet" and (column or key_column)):
        raise ArgumentError(f"{path}: expected a tensor name for .safetensors and columns for .parquet, got another")
    if suffix == ".npy":
        return Weights(_matrix(path, _load_npy(path)), None, os.path.basename(path))
    if suffix == ".safetensors":
        return _read_safetensors(path, tensor)
    return _read_parquet(path, column, key_column)


def _matrix(path: str, array: NDArray[Any]) -> NDArray[Any]:
    if array.ndim != 2 or array.dtype.kind != "f" or not array.shape[1]:
        raise FormatError(f"{path}: expected floats of shape (n, d), got {array.dtype} of shape {array.shape}")
    return array if array.dtype in (np.float32, np.float16) else array.astype(np.float32)


def _load_npy(path: str) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise FormatError(f"{path}: expected a NumPy file of floats, got {error}") from error
    return array


def _read_safetensors(path: str, name: str | None) -> Weights:
    try:
        import safetensors
    except ImportError as error:
        raise UnsupportedError(f"{path}: expected safetensors, got none (pip install 'semblance[quantize]')") from error
    try:
        with safetensors.safe_open(path, "np") as file:
            shapes = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118
            matrices = [
                key
                for key, part in shapes.items()
                if len(part.get_shape()) == 2 and part.get_dtype() in ("F64", "F32", "F16", "BF16")
            ]
            chosen = _choice(path, "tensor", name, matrices)
            if shapes[chosen].get_dtype() != "BF16":
                return Weights(_matrix(path, file.get_tensor(chosen)), None, chosen)
        return Weights(_bfloat_matrix(path, chosen), None, chosen)
    except safetensors.SafetensorError as error:
        raise FormatError(f"{path}: expected a whole safetensors file, got {error}") from error


def _bfloat_matrix(path: str, name: str) -> NDArray[np.float32]:
    """NumPy has no bfloat16: its bits are the upper half of a float32's."""
    import safetensors

    with open(path, "rb") as file:
        found = dict(safetensors.deserialize(file.read()))[name]  # type: ignore[no-untyped-call]
    bits = np.frombuffer(found["data"], "<u2").astype(np.uint32) << 16
    return bits.view(np.float32).reshape(found["shape"])


def _choice(path: str, what: str, name: str | None, there: list[str]) -> str:
    if name is not None:
        if name not in there:
            raise ArgumentError(f"{path}: expected a float matrix {what} {name!r}, got {there[:20]}")
        return name
    if len(there) != 1:
        raise ArgumentError(f"{path}: expected one float matrix, got {there[:20]} (--{what} names one)")
    return there[0]


def _read_parquet(path: str, column: str | None, key_column: str | None) -> Weights:
    try:
        import pyarrow  # type: ignore[import-untyped]
        from pyarrow import parquet
    except ImportError as error:
        raise UnsupportedError(f"{path}: expected pyarrow, got none (pip install 'semblance[quantize]')") from error
    try:
        schema = parquet.read_schema(path)
        lists = [field.name for field in schema if _is_list(field.type) and pyarrow.types.is_floating(_value(field))]
        chosen = _choice(path, "column", column, lists)
        if key_column is not None and key_column not in schema.names:
            raise ArgumentError(f"{path}: expected a key column of {schema.names[:20]}, got {key_column!r}")
        table = parquet.read_table(path, columns=[chosen] + ([] if key_column is None else [key_column]))
        rows = _rows_of(path, table.column(chosen).combine_chunks())
        return Weights(rows, None if key_column is None else _keys_of(path, table.column(key_column)), chosen)
    except pyarrow.ArrowException as error:
        raise FormatError(f"{path}: expected a whole Parquet file, got {error}") from error


def _is_list(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _value(field: Any) -> Any:
    return field.type.value_type


def _rows_of(path: str, lists: Any) -> NDArray[Any]:
    from pyarrow import compute

    widths = compute.unique(compute.list_value_length(lists)).to_pylist()
    values = lists.flatten()
    if lists.null_count or values.null_count or (len(lists) and (len(widths) != 1 or not widths[0])):
        raise FormatError(f"{path}: expected lists of equal length without nulls, got lengths {widths[:10]}")
    array = values.to_numpy(zero_copy_only=False)
    return _matrix(path, array.reshape(len(lists), -1 if len(lists) else 1))


def _keys_of(path: str, column: Any) -> NDArray[np.int64] | list[str]:
    from pyarrow import types

    if column.null_count or not (types.is_integer(column.type) or types.is_string(column.type)):
        raise FormatError(f"{path}: expected integer or text keys without nulls, got {column.type}")
    if types.is_string(column.type):
        texts: list[str] = column.to_pylist()
        return texts
    return np.asarray(column.to_numpy()).astype(np.int64)
