"""Encoders: the embedded static one, any ONNX model, and the distillation of one from the other."""

from __future__ import annotations

from .distillation import distill, distill_file
from .dynamic import Batching
from .encoder import Encoder
from .lengths import TokenLengths
from .merging import merge_encoders
from .reranker import Ranking, Reranker

__all__ = ["Batching", "Encoder", "Ranking", "Reranker", "TokenLengths", "distill", "distill_file", "merge_encoders"]
