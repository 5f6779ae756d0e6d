"""Which encoder a collection uses, loaded when a text first needs it."""

from __future__ import annotations

import threading
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ..errors import ArgumentError
from .records import checked_vectors
from .schema import Settings


@runtime_checkable
class TextEncoder(Protocol):
    """What a collection asks of an encoder; `semblance.Encoder` is one."""

    @property
    def dim(self) -> int: ...

    @property
    def fingerprint(self) -> str: ...

    def encode(self, inputs: Any, /) -> np.ndarray:
        """Return f32 (n, dim) for n texts."""
        ...


def load_encoder(source: str | None) -> TextEncoder:
    """Return the embedded default, or the encoder of a folder, file or name."""
    from ..encode import Encoder

    encoder: TextEncoder = Encoder() if source is None else Encoder(source)
    return encoder


class EncoderSlot:
    """The encoder given at opening, or the one that the settings name, checked against their fingerprint."""

    def __init__(self, given: TextEncoder | None, settings: Settings) -> None:
        self._encoder = given
        self._settings = settings
        self._lock = threading.Lock()
        if given is not None:
            self._check(given)

    def encode(self, texts: list[str], where: str) -> np.ndarray:
        """Return finite f32 (n, dim); ArgumentError where the collection has no encoder."""
        with self._lock:
            if self._encoder is None:
                self._encoder = self._load(where)
        return checked_vectors(np.asarray(self._encoder.encode(texts)), where, self._settings.dim, ndim=2)

    def _load(self, where: str) -> TextEncoder:
        if self._settings.encoder is None:
            raise ArgumentError(f"{where}: expected vectors, got text (the collection was made without an encoder)")
        encoder = load_encoder(self._settings.encoder_source)
        self._check(encoder)
        return encoder

    def _check(self, encoder: TextEncoder) -> None:
        if self._settings.encoder is None:
            if encoder.dim != self._settings.dim:
                raise ArgumentError(f"encoder: expected dimension {self._settings.dim}, got {encoder.dim}")
        elif encoder.fingerprint != self._settings.encoder:
            want = f"the encoder that made the collection's vectors, {self._settings.encoder!r}"
            hint = "open it with that encoder, or index the records into a new collection"
            raise ArgumentError(f"encoder: expected {want}, got {encoder.fingerprint!r} ({hint})")
