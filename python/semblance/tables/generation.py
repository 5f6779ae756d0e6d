"""One immutable state of a table: its arrays, the native reader over them, and their form in a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._core import table as _native
from ..errors import ArgumentError, FormatError
from .arrays import Bytes, Floats, Ints
from .keys import KEY_KINDS, KeySpace

DTYPES = ("f32", "f16", "bf16", "i8", "i4", "i2", "fp8")
KIND = "embedding_table"
VERSION = "1"
_BUCKET_BYTES = 64


@dataclass(frozen=True)
class Layout:
    """What all generations of a table share."""

    dtype: str
    dim: int
    keys: KeySpace
    missing: str
    padding: int | None = None

    @property
    def row_bytes(self) -> int:
        return _native.row_bytes(self.dtype, self.dim)

    @property
    def policy(self) -> str:
        """The native policy: "mean" and "row:n" both answer with a row that was picked when the table was built."""
        return self.missing if self.missing in ("zero", "error") else "row"

    def metadata(self) -> dict[str, str]:
        return {
            "dtype": self.dtype,
            "dim": str(self.dim),
            "keys": self.keys.kind,
            "key_seed": str(self.keys.seed),
            "missing": self.missing,
            "padding": "" if self.padding is None else str(self.padding),
        }


@dataclass(frozen=True)
class Delta:
    """Newer rows and removals over the base: key i has row i where i < len(rows), the keys after those were removed."""

    keys: Ints
    rows: Bytes
    buckets: Bytes

    @property
    def nbytes(self) -> int:
        return self.keys.nbytes + self.rows.nbytes + self.buckets.nbytes


@dataclass(frozen=True)
class Generation:
    """Arrays that never change once published; readers that hold one see nothing of later ones."""

    layout: Layout
    rows: Bytes
    buckets: Bytes | None = None
    missing_row: Bytes | None = None
    delta: Delta | None = None
    number: int = 0
    remap: NDArray[np.int32] | None = None
    native: _native.Table = field(init=False, compare=False)

    def __post_init__(self) -> None:
        layout = self.layout
        delta = self.delta
        native = _native.stored(
            layout.dtype,
            layout.dim,
            self.rows,
            self.buckets if self.remap is None else self.remap,
            layout.policy,
            self.missing_row,
            layout.padding,
            None if delta is None else delta.rows,
            None if delta is None else delta.buckets,
        )
        object.__setattr__(self, "native", native)

    @property
    def key_count(self) -> int:
        """Row numbers, or keys, of the base."""
        return len(self.rows if self.remap is None else self.remap)

    @property
    def row_bytes(self) -> int:
        return self.layout.row_bytes

    def sizes(self) -> dict[str, int]:
        """Bytes by part."""
        maps = [part.nbytes for part in (self.buckets, self.remap) if part is not None]
        return {
            "rows_nbytes": self.rows.nbytes,
            "keys_nbytes": sum(maps),
            "delta_nbytes": 0 if self.delta is None else self.delta.nbytes,
        }

    @property
    def nbytes(self) -> int:
        return sum(self.arrays().values())

    def arrays(self) -> dict[int, int]:
        """Identity and bytes of every array, so that what several tables share is counted once."""
        return {id(array): array.nbytes for array in self.tensors().values()}

    def live_count(self) -> int:
        """Keys that can be found."""
        delta = self.delta
        if delta is None:
            return self.key_count
        bare = replace(self, delta=None)
        return self.key_count - int(bare.native.find(delta.keys).sum()) + len(delta.rows)

    def tensors(self) -> dict[str, NDArray[Any]]:
        named: dict[str, NDArray[Any] | None] = {
            "rows": self.rows,
            "buckets": self.buckets,
            "remap": self.remap,
            "missing_row": self.missing_row,
        }
        if self.delta is not None:
            named |= {f"delta_{part}": getattr(self.delta, part) for part in ("keys", "rows", "buckets")}
        return {name: array for name, array in named.items() if array is not None}

    def metadata(self) -> dict[str, str]:
        return {"kind": KIND, "table_version": VERSION, **self.layout.metadata()}


def check_missing(missing: str, rows: int) -> None:
    """Raises ArgumentError unless `missing` is a policy that a table of so many rows can have."""
    policy = missing if isinstance(missing, str) else ""
    if policy in ("zero", "mean", "error"):
        return
    number = policy[4:] if policy.startswith("row:") else ""
    if not number.isdecimal() or int(number) >= rows:
        raise ArgumentError(
            f"missing: expected 'zero', 'mean', 'error' or 'row:n' with n below {rows}, got {missing!r}"
        )


def missing_row(missing: str, rows: Bytes, weights: Floats, dtype: str) -> Bytes | None:
    """The encoded row that unknown keys stand for, or None where the policy needs none."""
    if missing.startswith("row:"):
        row: Bytes = rows[int(missing[4:])].copy()
        return row
    if missing != "mean":
        return None
    mean = np.zeros((1, weights.shape[1]), np.float32)
    if len(weights):
        mean[0] = weights.mean(axis=0, dtype=np.float64)
    encoded: Bytes = _native.encode(mean, dtype, 1, None)[0]
    return encoded


def score_many(generation: Generation, queries: Floats, keys: NDArray[np.int64], threads: int) -> Floats:
    """Scores of many queries: against the same keys, or each against its own row of them."""
    if keys.ndim not in (1, 2) or (keys.ndim == 2 and len(keys) != len(queries)):
        raise ArgumentError(
            f"keys: expected shape (k,) or ({len(queries)}, k) with {len(queries)} queries, got {keys.shape}"
        )
    result = np.empty((len(queries), keys.shape[-1]), np.float32)
    for i, query in enumerate(queries):
        generation.native.score(query, keys if keys.ndim == 1 else keys[i], result[i], threads)
    return result


def from_tensors(tensors: Mapping[str, Any], metadata: Mapping[str, str]) -> Generation:
    """The generation that `tensors()` and `metadata()` describe, over the very arrays that are given.

    Raises
    ------
    FormatError
        Where a tensor or an entry is absent, of another form, or of a newer version.
    """
    layout = layout_of(metadata, KIND)
    if layout.dtype not in DTYPES:
        raise FormatError(f"table file: expected a dtype of {DTYPES}, got {layout.dtype!r}")
    rows = _tensor(tensors, "rows", layout.row_bytes, 2)
    buckets = buckets_of(tensors) if layout.keys.kind in ("int64", "str") else None
    remap = _remap(tensors) if layout.keys.kind == "pruned" else None
    row = _tensor(tensors, "missing_row", layout.row_bytes, 1) if layout.policy == "row" else None
    try:
        return Generation(layout, rows, buckets, row, _delta(tensors, layout), remap=remap)
    except ArgumentError as error:
        raise FormatError(f"table file: {error}") from error


def _delta(tensors: Mapping[str, Any], layout: Layout) -> Delta | None:
    if "delta_keys" not in tensors:
        return None
    keys = np.ascontiguousarray(tensors["delta_keys"])
    rows = _tensor(tensors, "delta_rows", layout.row_bytes, 2)
    if keys.dtype != np.int64 or keys.ndim != 1 or len(keys) < len(rows):
        raise FormatError(f"table file: expected a key for each delta row, got {keys.shape} for {rows.shape}")
    return Delta(keys, rows, _aligned(_tensor(tensors, "delta_buckets", _BUCKET_BYTES, 2)))


def _remap(tensors: Mapping[str, Any]) -> NDArray[np.int32]:
    remap = tensors.get("remap")
    if remap is None or remap.dtype != np.int32 or remap.ndim != 1:
        got = "nothing" if remap is None else f"{remap.dtype} of shape {remap.shape}"
        raise FormatError(f"table file: expected tensor 'remap' as int32 of shape (n,), got {got}")
    return np.ascontiguousarray(remap)


def buckets_of(tensors: Mapping[str, Any]) -> Bytes:
    """The buckets of the keys, at an address that native code can read them from."""
    return _aligned(_tensor(tensors, "buckets", _BUCKET_BYTES, 2))


def _aligned(buckets: Bytes) -> Bytes:
    return buckets.copy() if buckets.ctypes.data % 8 else buckets


def layout_of(metadata: Mapping[str, str], expected_kind: str) -> Layout:
    """The layout that a file's metadata tells of; FormatError where it is of another kind, incomplete or newer."""
    kind, version = metadata.get("kind"), metadata.get("table_version")
    if kind != expected_kind:
        raise FormatError(f"table file: expected kind {expected_kind!r}, got {kind!r}")
    if version != VERSION:
        raise FormatError(f"table file: expected table_version {VERSION}, got {version!r} (a newer file?)")
    try:
        keys = KeySpace(_one_of(metadata["keys"], KEY_KINDS), int(metadata["key_seed"]))
        padding = int(metadata["padding"]) if metadata["padding"] else None
        layout = Layout(metadata["dtype"], int(metadata["dim"]), keys, metadata["missing"], padding)
    except (KeyError, ValueError) as error:
        raise FormatError(f"table file: expected complete metadata, got {error!r}") from error
    if not 0 < layout.dim <= 1 << 20:
        raise FormatError(f"table file: expected a dim from 1 to 2^20, got {layout.dim}")
    if not 0 <= keys.seed < 1 << 64 or not -(1 << 63) <= (padding or 0) < 1 << 63:
        raise FormatError(f"table file: expected a seed and a padding of 64 bits, got {keys.seed} and {padding}")
    return layout


def _one_of(value: str, known: tuple[Any, ...]) -> Any:
    if value not in known:
        raise ValueError(value)
    return value


def _tensor(tensors: Mapping[str, Any], name: str, width: int, ndim: int) -> Bytes:
    array = tensors.get(name)
    if array is None or array.dtype != np.uint8 or array.ndim != ndim or array.shape[-1] != width:
        got = "nothing" if array is None else f"{array.dtype} of shape {array.shape}"
        shape = f"(n, {width})" if ndim == 2 else f"({width},)"
        raise FormatError(f"table file: expected tensor {name!r} as uint8 of shape {shape}, got {got}")
    return np.ascontiguousarray(array)
