"""Arrays of other libraries, as they come."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays import describe, float_rows
from ..errors import ArgumentError

__all__ = ["given_out", "is_on_device", "rows_of", "shape_of"]

_CUDA_DEVICES = (2, 13)  # DLPack: memory of a CUDA device, managed memory


def is_on_device(value: Any) -> bool:
    """Return whether an array lies on a CUDA device, by what it says of itself."""
    if isinstance(value, np.ndarray):
        return False
    if hasattr(value, "__cuda_array_interface__"):
        return True
    return hasattr(value, "__dlpack_device__") and int(value.__dlpack_device__()[0]) in _CUDA_DEVICES


def shape_of(value: Any) -> tuple[int, ...]:
    """Return the shape of an array; ONNX Runtime's values have a method of that name."""
    shape = value.shape
    return tuple(shape() if callable(shape) else shape)


def rows_of(value: Any, name: str, dim: int) -> Any:
    """Return an array of the card as it is, anything else as C-contiguous float32 of shape (n, dim)."""
    return value if is_on_device(value) else float_rows(value, name, dim)


def given_out(out: Any) -> tuple[Any, Any] | None:
    """Return a pair of arrays to write hits to, as it is, or None."""
    if out is not None and not (isinstance(out, tuple) and len(out) == 2):
        raise ArgumentError(f"out: expected a pair of arrays (ids, distances), got {describe(out)}")
    return out
