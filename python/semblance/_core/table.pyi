from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

class Table:
    def __init__(
        self,
        dtype: str,
        dim: int,
        rows: NDArray[np.uint8],
        buckets: NDArray[np.uint8] | None,
        missing: str,
        missing_row: NDArray[np.uint8] | None,
        padding: int | None,
    ) -> None: ...
    def __contains__(self, key: int) -> bool: ...
    def __len__(self) -> int: ...
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

def encode(
    weights: NDArray[np.float32], dtype: str, threads: int, progress: Callable[[int, int], object] | None
) -> NDArray[np.uint8]: ...
def build_buckets(keys: NDArray[np.int64], progress: Callable[[int, int], object] | None) -> NDArray[np.uint8]: ...
def string_keys(strings: Sequence[object], seed: int) -> NDArray[np.int64]: ...
def row_bytes(dtype: str, dim: int) -> int: ...
