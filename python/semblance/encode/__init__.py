"""Encoders: the embedded static one, any ONNX model, and the distillation of one from the other."""

from __future__ import annotations

from .distill import distill
from .encoder import Encoder

__all__ = ["Encoder", "distill"]
