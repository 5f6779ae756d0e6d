"""Quantised embedding tables."""

from .table import EmbeddingTable

__all__ = ["EmbeddingTable"]
