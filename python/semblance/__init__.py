"""semblance: vector search, quantised embedding tables and encoders in one engine."""

from __future__ import annotations

from .encode import Encoder, distill
from .errors import ArgumentError, CapacityError, Error, FormatError, NotFoundError, UnsupportedError

__version__ = "0.1.0"

__all__ = [
    "ArgumentError",
    "CapacityError",
    "Encoder",
    "Error",
    "FormatError",
    "NotFoundError",
    "UnsupportedError",
    "distill",
]
