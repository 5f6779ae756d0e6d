"""Unit vectors as the codes that an index takes: 8-bit integers or bits."""

from __future__ import annotations

from typing import Literal

import numpy as np

from ..errors import ArgumentError

Codes = Literal["f32", "i8", "b1"]


def check_codes(codes: object, normalize: bool) -> None:
    """ArgumentError for codes of another name, or 8-bit ones of vectors of any length."""
    if codes not in ("f32", "i8", "b1"):
        raise ArgumentError(f"codes: expected 'f32', 'i8' or 'b1', got {codes!r}")
    if codes == "i8" and not normalize:
        raise ArgumentError("codes: expected normalize=True with 'i8', whose range is that of unit vectors, got False")


def coded(vectors: np.ndarray, codes: Codes) -> np.ndarray:
    """(n, d) f32 → the same, int8 of 127 times the value, or uint8 (n, ceil(d / 8)) of the signs."""
    if codes == "i8":
        steps: np.ndarray = np.rint(vectors * np.float32(127)).astype(np.int8)
        return steps
    if codes == "b1":
        bits: np.ndarray = np.packbits(vectors > 0, axis=1)
        return bits
    return vectors
