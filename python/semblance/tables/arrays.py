"""What callers pass as arrays, turned into the exactly typed, contiguous ones that native code takes."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arrays import as_array, thread_count
from ..errors import ArgumentError

__all__ = ["Bytes", "Floats", "Ints", "describe", "float_array", "integer_array", "output_array", "thread_count"]

Floats: TypeAlias = NDArray[np.float32]
Bytes: TypeAlias = NDArray[np.uint8]
Ints: TypeAlias = NDArray[np.int64]


def describe(array: NDArray[Any]) -> str:
    return f"{array.dtype} of shape {array.shape}"


def integer_array(where: str, values: ArrayLike) -> Ints:
    """Contiguous int64 of any shape; unsigned 64-bit values keep their bits."""
    array = as_array(values, where, "integers")
    if array.dtype == np.int64 and array.flags.c_contiguous:
        return array
    if array.dtype.kind not in "iu":
        if array.size:
            raise ArgumentError(f"{where}: expected integers, got {describe(array)}")
        return np.empty(array.shape, np.int64)
    if array.dtype == np.uint64:
        return np.ascontiguousarray(array).view(np.int64).reshape(array.shape)
    return np.ascontiguousarray(array, dtype=np.int64).reshape(array.shape)


def float_array(where: str, values: ArrayLike, shape: str, ndim: int) -> Floats:
    """Contiguous float32; float16 is widened, anything else is refused."""
    array = as_array(values, where, f"float32 of shape {shape}")
    if isinstance(values, (list, tuple)) and array.dtype.kind in "if":
        array = array.astype(np.float32)
    if array.dtype not in (np.float32, np.float16) or array.ndim != ndim:
        raise ArgumentError(f"{where}: expected float32 of shape {shape}, got {describe(array)}")
    return np.ascontiguousarray(array, dtype=np.float32)


def output_array(out: Floats | None, shape: tuple[int, ...]) -> Floats:
    """`out` if it can be written to as it is, or a new array."""
    if out is None:
        return np.empty(shape, np.float32)
    if not isinstance(out, np.ndarray) or out.dtype != np.float32 or out.shape != shape:
        got = describe(out) if isinstance(out, np.ndarray) else type(out).__name__
        raise ArgumentError(f"out: expected float32 of shape {shape}, got {got}")
    if not (out.flags.c_contiguous and out.flags.writeable):
        raise ArgumentError(f"out: expected a writable C-contiguous array, got {describe(out)} that is not")
    return out
