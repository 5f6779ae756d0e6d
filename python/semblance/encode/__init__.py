"""Encoders: the embedded static one, any ONNX model, and the distillation of one from the other."""

from __future__ import annotations

from .distillation import distill, distill_file
from .dynamic import Batching
from .encoder import Encoder

__all__ = ["Batching", "Encoder", "distill", "distill_file"]
