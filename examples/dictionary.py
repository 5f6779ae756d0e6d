"""Describe a thing, find its word: the whole of WordNet, 117,659 dictionary entries, searched by meaning.

Run `python examples/dictionary.py` for the three descriptions below, or give your own as arguments.
Everything is in this repository and in the package; nothing is downloaded.
"""

from __future__ import annotations

import gzip
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import semblance as sb

DATA = Path(__file__).parent / "data"
DESCRIPTIONS = ["fear of small spaces", "government by the rich", "someone who cannot sleep at night"]


@contextmanager
def timed(what: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    print(f"{what:<58}{time.perf_counter() - start:8.2f} s")


def read_entries() -> list[dict[str, Any]]:
    """Every entry of the dictionary: `{id, text, lemmas, pos}`, `text` being the gloss."""
    with gzip.open(DATA / "glosses.jsonl.gz", "rt", encoding="utf-8") as lines:
        entries = [json.loads(line) for line in lines]
    with open(DATA / "query_texts.jsonl", encoding="utf-8") as lines:
        entries += [json.loads(line) for line in lines]
    return entries


def answer(db: sb.Collection, description: str) -> None:
    start = time.perf_counter()
    hits = db.search(description, k=3)
    milliseconds = 1000 * (time.perf_counter() - start)
    print(f"\n{description}  ({milliseconds:.1f} ms)")
    for hit in hits:
        print(f"  {hit.score:5.2f}  {', '.join(hit.record['lemmas']):<28} {hit.record['text'][:76]}")


def main(descriptions: list[str]) -> None:
    with timed("read the dictionary"):
        entries = read_entries()
    with tempfile.TemporaryDirectory() as folder:
        with timed("load the embedded encoder"):
            encoder = sb.Encoder()
        with sb.Collection.open(Path(folder) / "dictionary.db", encoder=encoder) as db:
            with timed(f"encode, store and index {len(entries):,} entries"):
                db.add(entries, progress=sys.stderr.isatty())
            for description in descriptions:
                answer(db, description)


if __name__ == "__main__":
    main(sys.argv[1:] or DESCRIPTIONS)
