"""One graph for any weights: recall@10 of `SpacesIndex` by ef and weights, and queries per second.

    SEMBLANCE_DATA=... python bench/search/spaces.py [--rows N]

Items are glosses with three spaces: the sentence vector (384), the static encoder's vector of the same text (256, akin
to it) and the sentence vector of another item (unrelated to both: the worst that can share a graph).
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import time
from pathlib import Path

import numpy as np
from recall_table import load, recall

import semblance as sb

EFS = (32, 64, 128, 256, 512)
WEIGHTS = [
    {"sentence": 1.0, "words": 1.0, "other": 1.0},
    {"sentence": 0.7, "words": 0.2, "other": 0.1},
    {"sentence": 1.0, "words": 1.0, "other": 0.0},
    {"sentence": 1.0, "words": 0.0, "other": 1.0},
    {"sentence": 1.0},
    {"words": 1.0},
    {"other": 1.0},
]


def texts_of(file: Path) -> list[str]:
    """The texts of JSON lines."""
    with gzip.open(file, "rt") if file.suffix == ".gz" else file.open() as lines:
        return [json.loads(line)["text"] for line in lines]


def spaces_of(sentence: np.ndarray, texts: list[str]) -> dict[str, np.ndarray]:
    """Vectors of each space."""
    words = sb.Encoder().encode(texts[: len(sentence)])
    return {"sentence": sentence, "words": words, "other": np.roll(sentence, len(sentence) // 3, axis=0)}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=30_000)
    given = parser.parse_args()
    folder = Path(os.environ["SEMBLANCE_DATA"]) / "glosses"
    base, queries, _ = load(given.rows)
    rows = spaces_of(base, texts_of(folder / "glosses.jsonl.gz"))
    asked = spaces_of(queries[:300], texts_of(folder / "query_texts.jsonl"))
    index = sb.SpacesIndex({name: vectors.shape[1] for name, vectors in rows.items()})
    index.add(rows)
    print(f"| weights | {' | '.join(f'ef {ef}' for ef in EFS)} |\n|---|" + "---|" * len(EFS))
    for weights in WEIGHTS:
        query = {name: vectors for name, vectors in asked.items() if name in weights}
        truth = index.search(query, 10, weights, exact=True).ids
        cells = []
        for ef in EFS:
            start = time.thread_time()
            found = index.search(query, 10, weights, ef=ef, threads=1).ids
            cells.append(f"{recall(found, truth):.4f} · {300 / (time.thread_time() - start):,.0f}/s")
        shown = ", ".join(f"{name} {weight:g}" for name, weight in weights.items())
        print(f"| {shown} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
