"""The static encoder: tokens → rows of a quantised table → their mean, through the native pooled look-up.

One row a token, whose length says how much the token counts; so a text's vector is a plain mean. Made by `distill`.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import TypeVar

import numpy as np
import xxhash

from .. import storage
from ..errors import FormatError
from ..tables import EmbeddingTable
from .texts import Report
from .tokenize import MAX_FILE_BYTES, Tokenizer, max_chars

_Value = TypeVar("_Value")

KIND = "static-encoder"
MAX_TOKENS = 512
DEFAULT_FILE = Path(__file__).parent / "data" / "static-en-256.safetensors"
_TABLE, _SOURCE = "table.", "source."


class StaticModel:
    """A token table and its tokenizer.

    Parameters
    ----------
    table : EmbeddingTable
        One row per token id.
    tokenizer : Tokenizer
        Gives the ids; no special tokens are used.
    empty_id : int
        The row that stands for a text without tokens.
    max_tokens : int
        Tokens of a text that count.
    name : str
        Shown to users.
    source : dict of str to str
        How the table was made, kept in the file.
    """

    device = "cpu"

    def __init__(
        self,
        table: EmbeddingTable,
        tokenizer: Tokenizer,
        *,
        empty_id: int,
        max_tokens: int = MAX_TOKENS,
        name: str = "static",
        source: dict[str, str] | None = None,
    ) -> None:
        self.table = table
        self.tokenizer = tokenizer
        self.empty_id = empty_id
        self.max_tokens = max_tokens
        self.name = name
        self.source = dict(source or {})

    @property
    def dim(self) -> int:
        """Dimensions of a vector."""
        return self.table.dim

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text; a text without tokens has the one id that stands for it."""
        return [row or [self.empty_id] for row in self.tokenizer.ids(texts, self.max_tokens)]

    def encode_windows(
        self, windows: Iterable[list[str]], batch_tokens: int | None = None, report: Report | None = None
    ) -> Iterator[np.ndarray]:
        """Vectors (n, dim) f32 of each window of texts, not normalised."""
        for window in windows:
            yield self._pooled(window)
            if report is not None:
                report(len(window))

    def _pooled(self, texts: list[str]) -> np.ndarray:
        native = self.tokenizer.wordpiece
        if native is not None:
            return native.pool(self.table, texts, self.max_tokens, max_chars(self.max_tokens), self.empty_id)
        rows = self.ids(texts)
        offsets = np.zeros(len(rows) + 1, np.int64)
        np.cumsum([len(row) for row in rows], out=offsets[1:])
        values = np.fromiter(chain.from_iterable(rows), np.int64, int(offsets[-1]))
        return np.asarray(self.table.pool(values, offsets, mode="mean"), np.float32)

    def with_max_tokens(self, max_tokens: int) -> StaticModel:
        """The same table with another limit of tokens."""
        return StaticModel(
            self.table,
            self.tokenizer,
            empty_id=self.empty_id,
            max_tokens=max_tokens,
            name=self.name,
            source=self.source,
        )

    def tokens(self, texts: Sequence[str]) -> list[list[str]]:
        """The token strings that each text's vector is made of."""
        return self.tokenizer.words(self.ids(texts))

    def identity(self) -> str:
        """A hash of everything that decides a vector."""
        digest = xxhash.xxh3_128(f"{KIND} {self.max_tokens} {self.empty_id}".encode())
        digest.update(self.tokenizer.definition.encode())
        tensors, layout = self.table._tensors()
        digest.update(repr(sorted(layout.items())).encode())
        for name, array in sorted(tensors.items()):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(array).view(np.uint8).data)
        return digest.hexdigest()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the encoder to one file."""
        tokenizer = zlib.compress(self.tokenizer.definition.encode(), 9)
        rows, layout = self.table._tensors()
        tensors: dict[str, np.ndarray] = {_TABLE + name: array for name, array in rows.items()}
        tensors["tokenizer"] = np.frombuffer(tokenizer, np.uint8)
        metadata = {
            "kind": KIND,
            "name": self.name,
            "dim": str(self.dim),
            "max_tokens": str(self.max_tokens),
            "empty_id": str(self.empty_id),
            **_prefixed(_TABLE, layout),
            **_prefixed(_SOURCE, self.source),
        }
        storage.write(path, tensors, metadata)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> StaticModel:
        """Read what `save` wrote; FormatError for anything else."""
        tensors, metadata = storage.read(path)
        where = os.path.basename(os.fspath(path))
        if metadata.get("kind") != KIND:
            raise FormatError(f"{where}: expected a {KIND} file, got kind {metadata.get('kind')!r}")
        try:
            numbers = {key: int(metadata[key]) for key in ("dim", "max_tokens", "empty_id")}
            tokenizer = Tokenizer(_inflated(tensors.pop("tokenizer"), where), f"{where}: tokenizer")
        except (KeyError, ValueError) as error:
            if isinstance(error, FormatError):
                raise
            raise FormatError(f"{where}: expected dim, max_tokens, empty_id and a tokenizer, got {error!r}") from error
        table = EmbeddingTable._from_tensors(_under(_TABLE, tensors), _under(_TABLE, metadata))
        fits = len(table) >= tokenizer.size and table.dim == numbers["dim"] and numbers["max_tokens"] >= 1
        if not fits or not 0 <= numbers["empty_id"] < len(table):
            want = f"{tokenizer.size} rows, of {numbers['dim']} dimensions"
            raise FormatError(f"{where}: expected {want}, got {len(table)} of {table.dim}, or an id or limit outside")
        source = _under(_SOURCE, metadata)
        name = metadata.get("name", where)
        empty, longest = numbers["empty_id"], numbers["max_tokens"]
        return cls(table, tokenizer, empty_id=empty, max_tokens=longest, name=name, source=source)


def _prefixed(prefix: str, items: Mapping[str, str]) -> dict[str, str]:
    return {prefix + key: value for key, value in items.items()}


def _under(prefix: str, items: Mapping[str, _Value]) -> dict[str, _Value]:
    """The items whose name starts with the prefix, without it."""
    return {key[len(prefix) :]: value for key, value in items.items() if key.startswith(prefix)}


def _inflated(packed: np.ndarray, where: str) -> str:
    """The tokenizer's JSON, of a bounded size whatever the bytes claim."""
    try:
        text = zlib.decompressobj().decompress(packed.tobytes(), MAX_FILE_BYTES)
        return text.decode("utf-8")
    except (zlib.error, UnicodeDecodeError) as error:
        raise FormatError(f"{where}: expected a deflated tokenizer, got {error}") from error


@cache
def default_model() -> StaticModel:
    """The embedded encoder, read from the package once."""
    return StaticModel.load(DEFAULT_FILE)
