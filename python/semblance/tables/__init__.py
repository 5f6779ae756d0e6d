"""Quantised embedding tables, and tables that store less than their rows."""

from .codebooks import from_codes, product, residual, semantic_ids
from .composing import Pick, composed
from .group import TableGroup
from .layouts import export_rows, import_rows
from .made import MadeTable
from .pruning import pruned
from .sources import block_shared, hash_rows, hashed, mixed, quotient_remainder, salts, seeded
from .table import EmbeddingTable
from .updates import TableWriter

__all__ = [
    "EmbeddingTable",
    "MadeTable",
    "Pick",
    "TableGroup",
    "TableWriter",
    "block_shared",
    "composed",
    "export_rows",
    "from_codes",
    "hash_rows",
    "hashed",
    "import_rows",
    "mixed",
    "product",
    "pruned",
    "quotient_remainder",
    "residual",
    "salts",
    "seeded",
    "semantic_ids",
]
