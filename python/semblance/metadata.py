"""What the metadata of an index's file holds, checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import FormatError

__all__ = ["as_bytes", "parameter", "whole"]


def parameter(metadata: Mapping[str, str], name: str) -> str | None:
    """Return what a file says of a parameter that every file has."""
    if f"index.{name}" not in metadata:
        raise FormatError(f"index.{name}: expected a parameter of that name, got none")
    return metadata[f"index.{name}"]


def whole(metadata: Mapping[str, str], name: str) -> int:
    """Return a parameter that is a whole number."""
    text = parameter(metadata, name) or ""
    if not (text.isascii() and text.isdigit() and len(text) <= 19):
        raise FormatError(f"index.{name}: expected a whole number, got {text!r:.40}")
    return int(text)


def as_bytes(name: str, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return rows of codes as the bytes they are."""
    return array.view(np.uint8) if name in ("codes", "rerank") and array.ndim == 2 else array
