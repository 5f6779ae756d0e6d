"""Quantised embedding tables, and tables that store less than their rows."""

from .codebooks import from_codes, product, residual, semantic_ids
from .composing import Pick, composed
from .fidelity import Fidelity, fidelity
from .group import TableGroup
from .layouts import export_rows, import_rows
from .made import MadeTable
from .metrics import TableCollector, prometheus_text
from .pruning import pruned
from .sources import block_shared, hash_rows, hashed, mixed, quotient_remainder, salts, seeded
from .table import EmbeddingTable
from .updates import TableWriter

__all__ = [
    "EmbeddingTable",
    "Fidelity",
    "MadeTable",
    "Pick",
    "TableCollector",
    "TableGroup",
    "TableWriter",
    "block_shared",
    "composed",
    "export_rows",
    "fidelity",
    "from_codes",
    "hash_rows",
    "hashed",
    "import_rows",
    "mixed",
    "product",
    "prometheus_text",
    "pruned",
    "quotient_remainder",
    "residual",
    "salts",
    "seeded",
    "semantic_ids",
]
