"""A tokenizer.json behind a small face: ids of texts, cut to a length that the caller names, never padded.

Whatever truncation and padding the file bakes in is dropped: a published file may say 128 fixed where the model's
limit is 256. BERT's WordPiece runs natively (`wordpiece`), every other kind in the ``tokenizers`` library, for which
texts are clipped in characters before they are tokenised, without changing any id that is kept.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import ArgumentError, FormatError
from .texts import printable
from .wordpiece import WordPiece

MAX_FILE_BYTES = 256 << 20  # the largest published tokenizer.json are about 35 MB
CHARS_PER_TOKEN = 8  # first guess of the clip; doubled until there are enough tokens
MAX_CHARS_PER_TOKEN = 64  # text beyond this many characters per allowed token is never looked at


class Tokenizer:
    """Ids of texts by the rules of a ``tokenizer.json``.

    Parameters
    ----------
    definition : str
        The JSON text of the file.
    where : str
        Named in errors.

    Raises
    ------
    FormatError
        The text is no tokenizer that the ``tokenizers`` library knows.
    """

    def __init__(self, definition: str, where: str = "tokenizer") -> None:
        self.definition = definition
        self._where = where
        self.wordpiece = WordPiece.of(definition)
        if self.wordpiece is None:
            self.prefix, self.suffix = self._special_ids()
        else:
            self.prefix, self.suffix = self.wordpiece.prefix, self.wordpiece.suffix

    @cached_property
    def _rust(self) -> Any:
        """The library's tokenizer; FormatError where it knows no such file."""
        from tokenizers import Tokenizer as _Tokenizer  # lazily: 20 ms that most users need not pay

        try:
            rust = _Tokenizer.from_str(self.definition)
        except Exception as error:  # the library raises bare Exception
            raise FormatError(f"{self._where}: expected a tokenizer.json, got {error}") from error
        rust.no_padding()
        rust.no_truncation()
        return rust

    @classmethod
    def from_file(cls, path: Path) -> Tokenizer:
        """The tokenizer of a file; FormatError when it is missing its form, too large or not UTF-8."""
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise FormatError(f"{path.name}: expected at most {MAX_FILE_BYTES} bytes, got {size}")
        try:
            return cls(path.read_text(encoding="utf-8"), path.name)
        except UnicodeDecodeError as error:
            raise FormatError(f"{path.name}: expected UTF-8 text, got {error}") from error

    @property
    def size(self) -> int:
        """Number of ids, added tokens included."""
        return int(self._rust.get_vocab_size()) if self.wordpiece is None else len(self.wordpiece.vocabulary)

    @cached_property
    def pad_id(self) -> int:
        """The id to pad with: the file's own, else that of a usual name, else 0 (padding is masked anyway)."""
        baked = json.loads(self.definition).get("padding")
        if baked:
            return int(baked["pad_id"])
        found = (self.id_of(name) for name in ("[PAD]", "<pad>", "<|endoftext|>"))
        return next((token for token in found if token is not None), 0)

    def ids(self, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
        """Ids of each text, without special tokens, the first ``max_tokens`` of them.

        Cost: about 400,000 short texts a CPU-second natively, 12,000 by the library. Lone surrogates count as U+FFFD.
        """
        if self.wordpiece is not None:
            return self.wordpiece.ids(texts, max_tokens, max_chars(max_tokens))
        limit = CHARS_PER_TOKEN * (max_tokens + 8)
        rows = self._encode([text if len(text) <= limit else _clip(text, limit) for text in texts])
        for row, text in enumerate(texts):
            if len(text) > limit and len(rows[row]) <= max_tokens:
                rows[row] = self._longer(text, limit, max_tokens)
        return [row[:max_tokens] if len(row) > max_tokens else row for row in rows]

    def _longer(self, text: str, limit: int, max_tokens: int) -> list[int]:
        """The clip was too short for this text: double it until the tokens suffice or the text ends."""
        ceiling = max_chars(max_tokens)
        row: list[int] = []
        while limit < min(len(text), ceiling) and len(row) <= max_tokens:
            limit = min(2 * limit, ceiling)
            row = self._encode([text if len(text) <= limit else _clip(text, limit)])[0]
        return row

    def words(self, rows: Sequence[Sequence[int]]) -> list[list[str]]:
        """The token strings behind ids."""
        name = self._rust.id_to_token if self.wordpiece is None else self.wordpiece.tokens.get
        return [[name(token) or "" for token in row] for row in rows]

    def id_of(self, token: str) -> int | None:
        """The id of a token string, None where there is none."""
        name = self._rust.token_to_id if self.wordpiece is None else self.wordpiece.vocabulary.get
        found: int | None = name(token)
        return found

    def _encode(self, texts: list[str], special: bool = False) -> list[list[int]]:
        """Ids by the library; FormatError where its file has none for a text, such as no token for unknown words."""
        try:
            encodings = self._rust.encode_batch_fast(texts, add_special_tokens=special)
        except (UnicodeEncodeError, TypeError):  # lone surrogates
            clean = [printable(text) for text in texts]
            if clean == texts:
                raise
            return self._encode(clean, special)
        except Exception as error:
            if type(error) is not Exception:  # what the library raises
                raise
            raise FormatError(f"{self._where}: expected ids for any text, got {error}") from error
        return [encoding.ids for encoding in encodings]

    def _special_ids(self) -> tuple[list[int], list[int]]:
        """What the post-processor puts before and after a text."""
        for probe in ("a", "1", "."):
            bare, full = self._encode([probe])[0], self._encode([probe], special=True)[0]
            if not bare:
                continue
            for start in range(len(full) - len(bare) + 1):
                if full[start : start + len(bare)] == bare:
                    return full[:start], full[start + len(bare) :]
        raise FormatError("tokenizer: expected ids for the text 'a', got none")


def max_chars(max_tokens: int) -> int:
    """Characters of a text that are looked at for so many tokens."""
    return MAX_CHARS_PER_TOKEN * (max_tokens + 8)


def _clip(text: str, limit: int) -> str:
    """The first ``limit`` characters, ended at white space so that the last word kept is whole."""
    head = text[:limit]
    end = max(head.rfind(" "), head.rfind("\n"))
    return head[:end] if end > limit // 2 else head


def without_unused(definition: str) -> tuple[str, list[int]]:
    """A WordPiece tokenizer without its ``[unusedN]`` entries and post-processor, and the old ids of the kept ones.

    Other kinds of tokenizers are returned as they are, with all ids. Raises FormatError on JSON of another form.
    """
    parts: dict[str, Any] = json.loads(definition)
    if not isinstance(parts, dict) or "model" not in parts:
        raise FormatError("tokenizer: expected an object with a 'model', got other JSON")
    parts.update(padding=None, truncation=None, post_processor=None)
    if parts["model"].get("type") != "WordPiece":
        return json.dumps(parts, ensure_ascii=False), list(range(Tokenizer(definition).size))
    vocabulary = sorted(parts["model"]["vocab"].items(), key=lambda item: item[1])
    kept = [(token, old) for token, old in vocabulary if not token.startswith("[unused")]
    new = {token: position for position, (token, _) in enumerate(kept)}
    parts["model"]["vocab"] = new
    added = [entry for entry in parts.get("added_tokens", []) if entry["content"] in new]
    parts["added_tokens"] = [{**entry, "id": new[entry["content"]]} for entry in added]
    return json.dumps(parts, ensure_ascii=False, separators=(",", ":")), [old for _, old in kept]


def check_length(value: object, name: str) -> int:
    """A number of tokens of at least 1, as int."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ArgumentError(f"{name}: expected an integer of at least 1, got {value!r}")
    return value
