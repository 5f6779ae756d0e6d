"""Arrays at the door: anything array-like in, a checked C-contiguous NumPy array out."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from .errors import ArgumentError

Progress: TypeAlias = bool | Callable[[int, int], object]
F32: TypeAlias = npt.NDArray[np.float32]
I64: TypeAlias = npt.NDArray[np.int64]

_FLOATS = frozenset("efdb")  # float16, float32, float64, int8; wider ones would lose more than their users expect


def describe(value: object) -> str:
    """Say what an argument is: dtype and shape of an array, the type's name of anything else."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype} of shape {value.shape}"
    return type(value).__name__


def as_array(value: Any, name: str, want: str) -> npt.NDArray[Any]:
    """Turn an array-like (``__array__``, ``__dlpack__``, nested lists) into an array without copying where possible."""
    if isinstance(value, np.ndarray):
        return value
    try:
        if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
            return np.from_dlpack(value)
        return np.asarray(value)
    except (ValueError, TypeError, RuntimeError, BufferError) as error:
        raise ArgumentError(f"{name}: expected {want}, got {describe(value)} ({error})") from error


def float_rows(value: Any, name: str, dim: int) -> F32:
    """C-contiguous float32 of shape (n, dim) from any float array of that shape."""
    if type(value) is np.ndarray and value.ndim == 2 and value.dtype == np.float32 and value.shape[1] == dim:
        return value if value.flags.c_contiguous else np.ascontiguousarray(value)
    want = f"float32 of shape (n, {dim})"
    array = as_array(value, name, want)
    if array.dtype.char not in _FLOATS or array.ndim != 2 or array.shape[1] != dim:
        hint = " (one vector: v[None])" if array.ndim == 1 and array.shape == (dim,) else ""
        raise ArgumentError(f"{name}: expected {want}, got {describe(array)}{hint}")
    with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite, which the engine refuses by name
        return np.ascontiguousarray(array, dtype=np.float32)


def bit_rows(value: Any, name: str, bits: int) -> npt.NDArray[np.uint8]:
    """C-contiguous packed bits: uint8 of shape (n, bits / 8)."""
    want = f"uint8 of shape (n, {bits // 8}), {bits} packed bits a row"
    array = as_array(value, name, want)
    if array.dtype != np.uint8 or array.ndim != 2 or array.shape[1] != bits // 8:
        raise ArgumentError(f"{name}: expected {want}, got {describe(array)}")
    return np.ascontiguousarray(array)


def int_ids(value: Any, name: str, n: int | None = None) -> I64:
    """C-contiguous int64 of shape (n,) from any array of integers that int64 holds."""
    want = f"int64 of shape ({'n' if n is None else n},)"
    if type(value) is not np.ndarray or value.dtype != np.int64:
        value = as_array(value, name, want)
        if value.size == 0 and value.ndim == 1:
            value = np.empty(0, np.int64)
        if value.dtype == np.uint64 and value.size and int(value.max()) > np.iinfo(np.int64).max:
            raise ArgumentError(f"{name}: expected {want}, got uint64 values beyond int64")
    if value.dtype.kind not in "iu" or value.ndim != 1 or (n is not None and value.shape[0] != n):
        raise ArgumentError(f"{name}: expected {want}, got {describe(value)}")
    return np.ascontiguousarray(value, dtype=np.int64)


def count(value: Any, name: str, least: int, most: int) -> int:
    """Return a whole number within [least, most]."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise ArgumentError(f"{name}: expected a whole number from {least} to {most}, got {describe(value)}")
    if not least <= value <= most:
        raise ArgumentError(f"{name}: expected a whole number from {least} to {most}, got {value}")
    return int(value)


def one_of(value: Any, name: str, words: Collection[str]) -> str:
    """Return a word that is among those there are."""
    if not isinstance(value, str) or value not in words:
        raise ArgumentError(f"{name}: expected one of {', '.join(words)}, got {value!r:.80}")
    return value


def flag(value: Any, name: str) -> bool:
    """Return a truth value of a scalar."""
    if isinstance(value, np.ndarray) and value.ndim:
        raise ArgumentError(f"{name}: expected True or False, got {describe(value)}")
    return bool(value)


def number(value: Any, name: str, least: float, most: float) -> float:
    """Return a finite number within [least, most]."""
    try:
        result = float(value)
    except (TypeError, ValueError, OverflowError):
        result = float("nan")
    if not least <= result <= most:
        raise ArgumentError(f"{name}: expected a number from {least:g} to {most:g}, got {value!r:.80}")
    return result


def thread_count(threads: Any) -> int:
    """Return a number of threads: 0 = all cores, 1 = the calling thread only."""
    return count(threads, "threads", 0, 1024)


def progress_callback(progress: Progress, what: str) -> tuple[Callable[[int, int], object] | None, Callable[[], None]]:
    """Return (callback or None, close): a tqdm bar for True, the callable itself otherwise."""
    if progress is False or progress is None:
        return None, lambda: None
    if progress is not True:
        if not callable(progress):
            raise ArgumentError(f"progress: expected True, False or a callable(done, total), got {describe(progress)}")
        return progress, lambda: None
    from tqdm import tqdm

    bar = tqdm(desc=what, unit="", smoothing=0.1)

    def update(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)

    return update, bar.close
