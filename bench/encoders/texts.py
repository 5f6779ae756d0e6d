"""The texts that the default static encoder is fitted on: glosses, their parts and words, abstracts, their sentences.

Everything comes from the data folder named by SEMBLANCE_DATA; no evaluation text is read (neither STS-B nor the queries
or judgements of SciFact).
"""

from __future__ import annotations

import gzip
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_QUOTED = re.compile(r'"([^"]+)"')
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")


def records(path: Path) -> Iterator[dict[str, Any]]:
    """The JSON objects of a (gzipped) JSON Lines file, in order."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def _unique(texts: Iterator[str]) -> list[str]:
    return [text for text in dict.fromkeys(t.strip(" ;,\n\t") for t in texts) if len(text) > 1]


def glosses(data: Path) -> list[str]:
    """Whole dictionary entries, in the order of ``glosses/base_f16.npy``."""
    return [record["text"] for record in records(data / "glosses/glosses.jsonl.gz")]


def examples(data: Path) -> list[str]:
    """The example sentences quoted inside the glosses."""
    return _unique(match for text in glosses(data) for match in _QUOTED.findall(text))


def definitions(data: Path) -> list[str]:
    """The defining parts of glosses that carry examples or several parts (the others are whole glosses already)."""
    split = (_QUOTED.sub("", text).split(";") for text in glosses(data) if ";" in text)
    return _unique(part for parts in split for part in parts)


def words(data: Path) -> list[str]:
    """Head words and phrases of the dictionary, each once."""
    return _unique(lemma for record in records(data / "glosses/glosses.jsonl.gz") for lemma in record["lemmas"])


def entries(data: Path) -> list[str]:
    """``word: definition`` for every third entry."""
    rows = list(records(data / "glosses/glosses.jsonl.gz"))[::3]
    return [f"{row['lemmas'][0]}: {_QUOTED.sub('', row['text']).strip(' ;')}" for row in rows]


def abstracts(data: Path) -> list[str]:
    """Title and text of each SciFact abstract as one text."""
    return [f"{r['title']} {r['text']}".strip() for r in records(data / "scifact/corpus.jsonl.gz")]


def sentences(data: Path) -> list[str]:
    """Titles and single sentences of the SciFact abstracts."""
    rows = list(records(data / "scifact/corpus.jsonl.gz"))
    parts = (part for row in rows for part in [row["title"], *_SENTENCE_END.split(row["text"])])
    return _unique(parts)


def pairs(data: Path, count: int = 20_000) -> list[str]:
    """Neighbouring sentences of abstracts joined, and example sentences joined at random: texts of middle length."""
    pool = sentences(data)
    joined = [f"{a} {b}" for a, b in zip(pool[::2], pool[1::2], strict=False)]
    rng = random.Random(0)
    rng.shuffle(joined)
    return joined[:count]


SOURCES = {
    "glosses": glosses,
    "examples": examples,
    "sentences": sentences,
    "words": words,
    "definitions": definitions,
    "entries": entries,
    "abstracts": abstracts,
    "pairs": pairs,
}
