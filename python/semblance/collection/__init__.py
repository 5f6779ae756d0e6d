"""Records, vector index and encoder as one durable store."""

from __future__ import annotations

from .collection import Collection
from .searching import Hit
from .store import BusyError

__all__ = ["BusyError", "Collection", "Hit"]
