"""How a table's keys become 64-bit integers: row numbers and integers as they are, strings through a hash."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._core import table as _native
from ..arrays import as_array
from ..errors import ArgumentError
from .arrays import Ints, describe, integer_array

KeyKind: TypeAlias = Literal["rows", "pruned", "int64", "str"]
KEY_KINDS: tuple[KeyKind, ...] = ("rows", "pruned", "int64", "str")
_SEEDS = 16


@dataclass(frozen=True)
class KeySpace:
    """The kind of a table's keys and, for strings, the seed of their hash. "pruned": row numbers through a remap."""

    kind: KeyKind
    seed: int = 0

    def array(self, where: str, keys: Any) -> Ints:
        """Keys as int64 of the same shape."""
        if self.kind != "str":
            return integer_array(where, keys)
        return self._hashed(where, keys)

    def one(self, where: str, key: Any) -> int:
        array = self.array(where, key)
        if array.shape != ():
            raise ArgumentError(f"{where}: expected one key, got {array.size} of them")
        return int(array[()])

    def _hashed(self, where: str, keys: Any) -> Ints:
        if isinstance(keys, list) and all(isinstance(key, str) for key in keys):
            return _native.string_keys(keys, self.seed)
        array = as_array(keys, where, "strings")
        if array.dtype.kind not in "UOT" and array.size:
            raise ArgumentError(f"{where}: expected strings, got {describe(array)}")
        return _native.string_keys(array.ravel().tolist(), self.seed).reshape(array.shape)


def _is_text(keys: Any) -> bool:
    if isinstance(keys, np.ndarray):
        return keys.dtype.kind in "UOT"
    return isinstance(keys, Sequence) and len(keys) > 0 and isinstance(keys[0], str)


def _strings_by_key(strings: list[str], keys: Ints) -> bool:
    """False where two different strings share a key; two equal strings are an error."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    for at in np.nonzero(ordered[1:] == ordered[:-1])[0]:
        first, second = int(order[at]), int(order[at + 1])
        if strings[first] == strings[second]:
            raise ArgumentError(
                f"keys: expected every key once, got {strings[first]!r} at positions {first} and {second}"
            )
        return False
    return True


def key_space(keys: ArrayLike | Sequence[str], rows: int) -> tuple[KeySpace, Ints]:
    """The space of a table's own keys and the keys in it, one a row.

    String keys get the first seed under which no two of them collide.

    Raises
    ------
    ArgumentError
        For keys of another number than the rows, and for strings that come twice.
    """
    if not _is_text(keys):
        integers = integer_array("keys", keys)
        _check_count(integers, rows)
        return KeySpace("int64"), integers
    strings: list[str] = np.asarray(keys).tolist() if isinstance(keys, np.ndarray) else list(keys)  # type: ignore[arg-type]
    for seed in range(_SEEDS):
        hashed = _native.string_keys(strings, seed)
        _check_count(hashed, rows)
        if _strings_by_key(strings, hashed):
            return KeySpace("str", seed), hashed
    raise ArgumentError(f"keys: expected strings with distinct 64-bit hashes, got collisions under {_SEEDS} seeds")


def _check_count(keys: NDArray[np.int64], rows: int) -> None:
    if keys.shape != (rows,):
        raise ArgumentError(f"keys: expected shape ({rows},), one for each row, got {keys.shape}")
