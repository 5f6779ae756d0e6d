"""The engine on a GPU: whether there is one here, and what runs on it."""

from __future__ import annotations

from typing import Any

from .flat_index import FlatIndex
from .graph_index import GraphIndex
from .native import is_available, reason, require
from .tables import GpuTable, GpuTableGroup

__all__ = ["FlatIndex", "GpuTable", "GpuTableGroup", "GraphIndex", "device", "is_available", "reason", "require"]


def device() -> dict[str, Any]:
    """Return what the card is: ``name``, ``capability``, ``multiprocessors``, ``memory`` and ``free_memory`` in bytes.

    Raises
    ------
    UnsupportedError
        No card can be used here.

    Examples
    --------
    >>> import semblance as sb
    >>> sb.gpu.device()["name"] if sb.gpu.is_available() else "none"  # doctest: +SKIP
    'NVIDIA H200'
    """
    require("device")
    from .. import _cuda

    return _cuda.device()
