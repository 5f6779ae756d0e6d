from typing import Any

import numpy as np
import numpy.typing as npt

_F32 = npt.NDArray[np.float32]
_U8 = npt.NDArray[np.uint8]

def available() -> list[str]: ...
def active() -> str: ...
def score_rows(
    format: str,
    score: str,
    query: npt.NDArray[Any],
    rows: _U8,
    ids: npt.NDArray[np.uint32] | None = None,
    isa: str = "",
) -> _F32: ...
def score_tile(score: str, queries: _F32, rows: _F32, isa: str = "") -> _F32: ...
def encode_rows(format: str, rows: _F32, isa: str = "") -> _U8: ...
def decode_rows(format: str, codes: _U8, dim: int, isa: str = "") -> _F32: ...
