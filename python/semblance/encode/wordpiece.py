"""BERT's tokenizer in native code, for the files that say exactly that; all others stay with ``tokenizers``.

A file is taken only where every entry that decides an id is one that the native code was checked on against the
library. Anything else, known or not, is refused here (None), never approximated.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from .._core import text as _native
from ..errors import CapacityError
from ..tables import EmbeddingTable

MAX_ID = 1 << 31
MAX_WORD_CHARS = 4096
_TOP = {
    "version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder",
    "model",
}  # fmt: skip
_MODEL = {"type", "unk_token", "continuing_subword_prefix", "max_input_chars_per_word", "vocab"}
_STEPS = ("clean_text", "handle_chinese_chars", "strip_accents", "lowercase")
_ADDED_OFF = ("single_word", "lstrip", "rstrip", "normalized")


class _Unsupported(Exception):
    """The file asks for something that the native tokenizer does not do."""


@dataclass(frozen=True)
class WordPiece:
    """A native tokenizer and what else its file says.

    Attributes
    ----------
    vocabulary : dict of str to int
        Every token's id.
    tokens : dict of int to str
        Every id's token.
    prefix, suffix : list of int
        Special ids before and after a text.
    native : semblance._core.text.WordPiece
        Gives the ids.
    """

    vocabulary: dict[str, int]
    tokens: dict[int, str]
    prefix: list[int]
    suffix: list[int]
    native: _native.WordPiece

    @classmethod
    def of(cls, definition: str) -> WordPiece | None:
        """The tokenizer of a ``tokenizer.json``'s text; None where it is not one that native code serves."""
        try:
            parts = json.loads(definition, object_pairs_hook=_object)
            return cls._read(parts)
        except (_Unsupported, ValueError, LookupError, TypeError, AttributeError, RecursionError, CapacityError):
            return None

    @classmethod
    def _read(cls, parts: dict[str, Any]) -> WordPiece:
        _require(isinstance(parts, dict) and set(parts) <= _TOP and parts.get("version") == "1.0")
        _require(parts.get("pre_tokenizer") == {"type": "BertPreTokenizer"})
        model = parts.get("model")
        if not isinstance(model, dict) or set(model) != _MODEL or model["type"] != "WordPiece":
            raise _Unsupported
        vocabulary = _vocabulary(model["vocab"])
        unknown, prefix, longest = (
            model[name] for name in ("unk_token", "continuing_subword_prefix", "max_input_chars_per_word")
        )
        _require(isinstance(prefix, str) and isinstance(unknown, str) and unknown in vocabulary)
        prefix.encode("utf-8")
        _require(type(longest) is int and 0 <= longest <= MAX_WORD_CHARS)
        padding = parts.get("padding")
        _require(padding is None or (isinstance(padding, dict) and type(padding["pad_id"]) is int))
        added = _added(parts.get("added_tokens", []), vocabulary)
        before, after = _special_ids(parts.get("post_processor"), vocabulary)
        steps = _steps(parts.get("normalizer"))
        native = _native.WordPiece(vocabulary, added, prefix, unknown, longest, steps)
        tokens = {token: piece for piece, token in vocabulary.items()}
        return cls(vocabulary, tokens, before, after, native)

    def ids(self, texts: Sequence[str], max_tokens: int, max_chars: int) -> list[list[int]]:
        """Ids of each text without special tokens, the first ``max_tokens`` of them."""
        values, offsets = self.native.ids(texts, _size(max_tokens), _size(max_chars), 0)
        flat, ends = values.tolist(), offsets.tolist()
        return [flat[start:end] for start, end in pairwise(ends)]

    def pool(
        self, table: EmbeddingTable, texts: Sequence[str], max_tokens: int, max_chars: int, empty_id: int
    ) -> np.ndarray:
        """Mean rows (n, dim) f32 of the texts' ids, in one pass; of ``empty_id`` where a text has none."""
        out = np.empty((len(texts), table.dim), np.float32)
        reader = table._generation.native
        self.native.pool(reader, texts, _size(max_tokens), _size(max_chars), empty_id, out, 0)
        return out


def _require(holds: bool) -> None:
    if not holds:
        raise _Unsupported


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; one that names an entry twice means different things to different readers."""
    made = dict(pairs)
    _require(len(made) == len(pairs))
    return made


def _size(value: int) -> int:
    return min(value, 1 << 48)


def _vocabulary(pieces: Any) -> dict[str, int]:
    """The pieces and their ids: distinct ones, and text that UTF-8 can hold."""
    _require(isinstance(pieces, dict))
    _require(all(type(token) is int and 0 <= token < MAX_ID for token in pieces.values()))
    _require(len(set(pieces.values())) == len(pieces))
    "".join(pieces).encode("utf-8")  # a lone surrogate is a ValueError
    vocabulary: dict[str, int] = pieces
    return vocabulary


def _steps(normalizer: Any) -> list[str]:
    """The steps of the normaliser that are on."""
    _require(isinstance(normalizer, dict) and set(normalizer) == {"type", *_STEPS})
    chosen = dict(normalizer)
    _require(chosen.pop("type") == "BertNormalizer")
    if chosen["strip_accents"] is None:  # then it follows lowercase
        chosen["strip_accents"] = chosen["lowercase"]
    _require(all(isinstance(value, bool) for value in chosen.values()))
    return [step for step in _STEPS if chosen[step]]


def _added(entries: Any, vocabulary: dict[str, int]) -> dict[str, int]:
    """Tokens found in the raw text; only those of the vocabulary, without options."""
    _require(isinstance(entries, list))
    found = {}
    for entry in entries:
        _require(isinstance(entry, dict) and set(entry) == {"id", "content", "special", *_ADDED_OFF})
        _require(not any(entry[option] for option in _ADDED_OFF) and isinstance(entry["content"], str))
        _require(entry["content"][:1].isascii() and entry["content"] != "" and entry["content"] not in found)
        _require(type(entry["id"]) is int and vocabulary.get(entry["content"]) == entry["id"])
        found[entry["content"]] = entry["id"]
    return found


def _special_ids(processor: Any, vocabulary: dict[str, int]) -> tuple[list[int], list[int]]:
    """What the post-processor puts before and after a single text."""
    if processor is None:
        return [], []
    _require(isinstance(processor, dict))
    if processor.get("type") == "BertProcessing":
        (first, before), (last, after) = processor["cls"], processor["sep"]
        _require(vocabulary.get(first) == before and vocabulary.get(last) == after)
        return [before], [after]
    _require(processor.get("type") == "TemplateProcessing")
    sides: list[list[int]] = [[]]
    for item in processor["single"]:
        ((kind, what),) = item.items()
        if kind == "Sequence":
            _require(what["id"] == "A")
            sides.append([])
        else:
            _require(kind == "SpecialToken")
            special = processor["special_tokens"][what["id"]]["ids"]
            _require(all(type(token) is int for token in special))
            sides[-1] += special
    _require(len(sides) == 2)
    return sides[0], sides[1]
