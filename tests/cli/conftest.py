from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from semblance.collection import collection, encoding


class HashEncoder:
    """A bag of words, each word hashed to a direction, in place of the embedded encoder."""

    dim = 64
    fingerprint = "hash"

    def encode(self, inputs: list[str], /) -> np.ndarray:
        out = np.zeros((len(inputs), self.dim), np.float32)
        for at, text in enumerate(inputs):
            for word in text.lower().split() or [""]:
                out[at] += np.random.default_rng(zlib.crc32(word.encode())).standard_normal(self.dim)
        return out


@pytest.fixture
def hash_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (collection, encoding):
        monkeypatch.setattr(module, "load_encoder", lambda source: HashEncoder())


@pytest.fixture
def lines(tmp_path: Path) -> Callable[..., str]:
    """Write values as JSON Lines and return the file's name."""

    def write(name: str, values: list[Any]) -> str:
        (tmp_path / name).write_text("".join(json.dumps(value) + "\n" for value in values))
        return str(tmp_path / name)

    return write
