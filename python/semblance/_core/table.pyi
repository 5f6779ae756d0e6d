from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

class Table:
    def __contains__(self, key: int) -> bool: ...
    def __len__(self) -> int: ...
    def find(self, keys: NDArray[np.int64]) -> NDArray[np.bool_]: ...
    @property
    def dim(self) -> int: ...
    @property
    def looked_up(self) -> int: ...
    @property
    def unknown(self) -> int: ...
    def lookup(self, keys: NDArray[np.int64], out: NDArray[np.float32], threads: int) -> None: ...
    def pool(
        self,
        values: NDArray[np.int64],
        offsets: NDArray[np.int64],
        weights: NDArray[np.float32] | None,
        mode: str,
        out: NDArray[np.float32],
        threads: int,
    ) -> None: ...
    def score(
        self, query: NDArray[np.float32], keys: NDArray[np.int64], out: NDArray[np.float32], threads: int
    ) -> None: ...

class Slot:
    def __init__(self, table: Table, hashes_strings: bool) -> None: ...
    def publish(self, table: Table) -> None: ...

class Group:
    def __init__(
        self,
        names: list[str],
        slots: list[Slot],
        modes: list[str],
        prepare: Callable[[int, object], tuple[object, object, object]],
    ) -> None: ...
    @property
    def width(self) -> int: ...
    def lookup(self, inputs: object, out: NDArray[np.float32] | None, threads: int) -> NDArray[np.float32]: ...

def encode(
    weights: NDArray[np.float32], dtype: str, threads: int, progress: Callable[[int, int], object] | None
) -> NDArray[np.uint8]: ...
def build_buckets(keys: NDArray[np.int64], progress: Callable[[int, int], object] | None) -> NDArray[np.uint8]: ...
def string_keys(strings: Sequence[object], seed: int) -> NDArray[np.int64]: ...
def row_bytes(dtype: str, dim: int) -> int: ...
def stored(
    dtype: str,
    dim: int,
    rows: NDArray[np.uint8],
    map: NDArray[np.uint8] | NDArray[np.int32] | None,
    missing: str,
    missing_row: NDArray[np.uint8] | None,
    padding: int | None,
    delta_rows: NDArray[np.uint8] | None,
    delta_buckets: NDArray[np.uint8] | None,
) -> Table: ...
def overlapping(dtype: str, dim: int, values: NDArray[np.uint8]) -> Table: ...

_Keys: TypeAlias = tuple[int | None, NDArray[np.uint8] | None, str, NDArray[np.uint8] | None, int | None]

def composed(
    parts: Sequence[tuple[Table, str, int]],
    combine: str,
    codes: NDArray[np.uint8] | NDArray[np.uint16] | None,
    keys: _Keys,
) -> Table: ...
def mixed(parts: Sequence[Table], keys: _Keys) -> Table: ...
def seeded(dim: int, seed: int, deviation: float, distribution: str, keys: _Keys) -> Table: ...
def hash_rows(keys: NDArray[np.int64], salt: int, rows: int) -> NDArray[np.int64]: ...
def kmeans(
    rows: NDArray[np.float32],
    centroids: int,
    iterations: int,
    sample: int,
    seed: int,
    threads: int,
    progress: Callable[[int, int], object] | None,
) -> tuple[NDArray[np.float32], NDArray[np.uint16]]: ...
