"""How long texts are in tokens, for choosing a model's limit and a way with long texts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class TokenLengths:
    """Lengths of texts in tokens, special tokens included; made by `Encoder.token_lengths`.

    Attributes
    ----------
    each : ndarray
        (n,) int64, one length a text.
    limit : int
        Tokens that count, ``max_tokens`` of the encoder.
    """

    each: np.ndarray
    limit: int

    @property
    def mean(self) -> float:
        """Mean length; 0 for no texts."""
        return float(self.each.mean()) if len(self.each) else 0.0

    @property
    def median(self) -> float:
        """Middle length; 0 for no texts."""
        return float(np.median(self.each)) if len(self.each) else 0.0

    @property
    def longest(self) -> int:
        """Largest length; 0 for no texts."""
        return int(self.each.max(initial=0))

    @property
    def cut(self) -> int:
        """Texts longer than the limit."""
        return int((self.each > self.limit).sum())

    @property
    def p95(self) -> float:
        """The length that 95 % of the texts do not exceed; 0 for no texts."""
        return float(np.percentile(self.each, 95)) if len(self.each) else 0.0
