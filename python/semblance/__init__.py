"""semblance: vector search, quantised embedding tables and encoders in one engine.

Names are imported when first used, so that ``import semblance`` costs little more than NumPy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import ArgumentError, CapacityError, Error, FormatError, NotFoundError, UnsupportedError

if TYPE_CHECKING:
    from . import codecs as codecs
    from . import gpu as gpu
    from . import kernels as kernels
    from . import tables as tables
    from .collection import Collection as Collection
    from .collection import Hit as Hit
    from .encode import Batching as Batching
    from .encode import Encoder as Encoder
    from .encode import Ranking as Ranking
    from .encode import Reranker as Reranker
    from .encode import TokenLengths as TokenLengths
    from .encode import distill as distill
    from .encode import merge_encoders as merge_encoders
    from .filters import Allowed as Allowed
    from .fusion import fuse as fuse
    from .ground_truth import exact as exact
    from .index import Index as Index
    from .results import Hits as Hits
    from .results import Ranges as Ranges
    from .results import Report as Report
    from .results import TuneReport as TuneReport
    from .spaces_index import SpacesIndex as SpacesIndex
    from .tables import EmbeddingTable as EmbeddingTable
    from .tables import TableGroup as TableGroup

__version__ = "0.1.0"

# Where each public name lives; a module of this package where the value is None.
_HOMES: dict[str, str | None] = {
    "Allowed": "filters",
    "Batching": "encode",
    "Collection": "collection",
    "EmbeddingTable": "tables",
    "Encoder": "encode",
    "Hit": "collection",
    "Hits": "results",
    "Index": "index",
    "Ranges": "results",
    "Ranking": "encode",
    "Report": "results",
    "Reranker": "encode",
    "SpacesIndex": "spaces_index",
    "TableGroup": "tables",
    "TokenLengths": "encode",
    "TuneReport": "results",
    "codecs": None,
    "distill": "encode",
    "exact": "ground_truth",
    "fuse": "fusion",
    "gpu": None,
    "kernels": None,
    "merge_encoders": "encode",
    "tables": None,
}

__all__ = [
    "Allowed",
    "ArgumentError",
    "Batching",
    "CapacityError",
    "Collection",
    "EmbeddingTable",
    "Encoder",
    "Error",
    "FormatError",
    "Hit",
    "Hits",
    "Index",
    "NotFoundError",
    "Ranges",
    "Ranking",
    "Report",
    "Reranker",
    "SpacesIndex",
    "TableGroup",
    "TokenLengths",
    "TuneReport",
    "UnsupportedError",
    "codecs",
    "distill",
    "exact",
    "fuse",
    "gpu",
    "kernels",
    "merge_encoders",
    "tables",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'semblance' has no attribute {name!r}")
    home = _HOMES[name]
    value = import_module(f".{home or name}", __name__)
    if home is not None:
        value = getattr(value, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
