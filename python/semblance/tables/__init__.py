"""Quantised embedding tables."""

from .group import TableGroup
from .layouts import export_rows, import_rows
from .table import EmbeddingTable
from .updates import TableWriter

__all__ = ["EmbeddingTable", "TableGroup", "TableWriter", "export_rows", "import_rows"]
