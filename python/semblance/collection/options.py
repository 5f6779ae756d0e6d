"""The arguments of `Collection.open`: checked, and compared with what the collection was made with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import ArgumentError
from .encoding import TextEncoder
from .schema import Settings
from .where import field_path

METRICS = ("cosine", "ip", "l2")


def new_settings(
    encoder: TextEncoder | None, source: str | None, dim: int | None, metric: str | None, options: Any
) -> Settings:
    """Return the settings of a new collection."""
    metric = "cosine" if metric is None else metric
    if metric not in METRICS:
        raise ArgumentError(f"metric: expected one of {', '.join(METRICS)}, got {metric!r}")
    if dim is not None and (isinstance(dim, bool) or not isinstance(dim, int) or dim < 1):
        raise ArgumentError(f"dim: expected an integer of at least 1, got {dim!r}")
    if encoder is not None and dim not in (None, encoder.dim):
        raise ArgumentError(f"dim: expected the encoder's {encoder.dim}, got {dim}")
    size = encoder.dim if encoder is not None else dim
    assert size is not None
    fingerprint = encoder.fingerprint if encoder is not None else None
    return Settings(int(size), metric, fingerprint, source, dict(options or {}))


def check_same(settings: Settings, dim: int | None, metric: str | None) -> None:
    """Refuse a dimension or metric that an existing collection does not have."""
    if dim is not None and dim != settings.dim:
        raise ArgumentError(f"dim: expected the collection's {settings.dim}, got {dim!r}")
    if metric is not None and metric != settings.metric:
        raise ArgumentError(f"metric: expected the collection's {settings.metric!r}, got {metric!r}")


def checked_indexed(indexed: Sequence[str]) -> tuple[str, ...]:
    """Return the field names, each checked."""
    if (
        isinstance(indexed, str)
        or not isinstance(indexed, Sequence)
        or not all(isinstance(name, str) for name in indexed)
    ):
        raise ArgumentError(f"indexed: expected a sequence of field names, got {indexed!r}")
    for name in indexed:
        field_path(name)
    return tuple(indexed)
