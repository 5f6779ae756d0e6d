"""Quantised embedding tables."""

from .group import TableGroup
from .table import EmbeddingTable
from .updates import TableWriter

__all__ = ["EmbeddingTable", "TableGroup", "TableWriter"]
