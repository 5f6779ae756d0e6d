"""Texts of mixed lengths, from single words to whole abstracts, in a fixed shuffled order."""

from __future__ import annotations

import random
from pathlib import Path

from texts import abstracts, glosses, sentences, words

SHARES = ((words, 0.10), (glosses, 0.60), (sentences, 0.20), (abstracts, 0.10))


def mixed_texts(data: Path, count: int) -> list[str]:
    """``count`` texts: a tenth single words, most of them dictionary entries, a fifth sentences, a tenth abstracts."""
    rng = random.Random(7)
    chosen = [text for source, share in SHARES for text in _some(rng, source(data), round(share * count))]
    rng.shuffle(chosen)
    return chosen


def _some(rng: random.Random, pool: list[str], count: int) -> list[str]:
    return [rng.choice(pool) for _ in range(count)] if count > len(pool) else rng.sample(pool, count)
