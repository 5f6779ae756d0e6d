"""Quality and speed of encoders: STS-B Spearman, SciFact nDCG@10, texts per CPU-second.

    SEMBLANCE_DATA=… python bench/encoders/quality.py [--full] [--static FILE ...]

Prints one Markdown table. ``--full`` adds the ONNX model of the data folder (minutes); vectors are never stored.
"""

from __future__ import annotations

import argparse
import csv
import os
import sqlite3
import time
from pathlib import Path

import numpy as np
from texts import glosses, records

import semblance as sb
from semblance.collection.hybrid import fuse_ranks, match_expression

POOL = 100  # hits of each kind that a hybrid search fuses


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks with ties at their mean, as Spearman's coefficient wants them."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's rank correlation."""
    return float(np.corrcoef(ranks(a), ranks(b))[0, 1])


def sts(encoder: sb.Encoder, data: Path, part: str = "test") -> float:
    """Spearman of cosine against the human score on the English STS benchmark."""
    with (data / f"local/stsb/stsb-en-{part}.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    left, right = (encoder.encode([row[side] for row in rows]) for side in (0, 1))
    return spearman(np.einsum("nd,nd->n", left, right), np.array([float(row[2]) for row in rows]))


class SciFact:
    """The SciFact test queries over its abstracts (title and text), and what words alone find."""

    def __init__(self, data: Path) -> None:
        documents = list(records(data / "scifact/corpus.jsonl.gz"))
        judged = relevance(data)
        queries = [row for row in records(data / "scifact/queries.jsonl") if row["_id"] in judged]
        assert len(queries) == 300, len(queries)
        place = {row["_id"]: position for position, row in enumerate(documents)}
        self.documents = [f"{row['title']} {row['text']}".strip() for row in documents]
        self.queries = [row["text"] for row in queries]
        self.wanted = [{place[name]: grade for name, grade in judged[row["_id"]].items()} for row in queries]

    def by_words(self) -> list[list[int]]:
        """Documents of each query by BM25, as a collection's lexical part ranks them."""
        table = sqlite3.connect(":memory:")
        table.execute("CREATE VIRTUAL TABLE words USING fts5(text, tokenize = 'porter unicode61 remove_diacritics 2')")
        table.executemany("INSERT INTO words (rowid, text) VALUES (?, ?)", enumerate(self.documents))
        find = f"SELECT rowid FROM words WHERE words MATCH ? ORDER BY bm25(words) LIMIT {POOL}"
        return [[row for (row,) in table.execute(find, (match_expression(text),))] for text in self.queries]

    def by_vectors(self, encoder: sb.Encoder) -> list[list[int]]:
        """Documents of each query by exact cosine."""
        scores = encoder.encode(self.queries) @ encoder.encode(self.documents).T
        ranked: list[list[int]] = np.argsort(-scores, axis=1, kind="stable")[:, :POOL].tolist()
        return ranked

    def ndcg_at_10(self, rankings: list[list[int]]) -> float:
        """Mean nDCG@10 of one ranking a query."""
        discounts = 1 / np.log2(np.arange(2, 12))
        found = []
        for wanted, ranking in zip(self.wanted, rankings, strict=True):
            gains = np.array([wanted.get(document, 0) for document in ranking[:10]])
            ideal = np.sort(list(wanted.values()))[::-1][:10]
            found.append((gains * discounts[: len(gains)]).sum() / (ideal * discounts[: len(ideal)]).sum())
        return float(np.mean(found))


def relevance(data: Path) -> dict[str, dict[str, int]]:
    """Judgements: query id → document id → grade."""
    judged: dict[str, dict[str, int]] = {}
    with (data / "scifact/qrels.tsv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            judged.setdefault(row["query-id"], {})[row["corpus-id"]] = int(row["score"])
    return judged


def speed(encoder: sb.Encoder, texts: list[str], repeats: int) -> tuple[float, float]:
    """Texts per CPU-second of this process (median of the repeats) and tokens per text."""
    tokens = float(np.mean([len(row) for row in encoder.tokens(texts)]))
    rates = []
    for _ in range(repeats):
        start = time.process_time()
        encoder.encode(texts)
        rates.append(len(texts) / (time.process_time() - start))
    return float(np.median(rates)), tokens


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="also the ONNX model, which takes minutes")
    parser.add_argument("--static", nargs="*", default=[], help="files of further static encoders")
    given = parser.parse_args()
    data = Path(os.environ["SEMBLANCE_DATA"])
    texts = glosses(data)[::6][:20_000]
    encoders = [(sb.Encoder(), texts, 5), *((sb.Encoder(path), texts, 5) for path in given.static)]
    if given.full:
        encoders.append((sb.Encoder(data / "minilm", device="cpu"), texts[:2_000], 3))
    scifact = SciFact(data)
    words = scifact.by_words()
    print("| encoder | dim | STS-B test | STS-B dev | SciFact nDCG@10 | with BM25 | texts/CPU-s | tokens/text |")
    print("|---|---|---|---|---|---|---|---|")
    print(
        f"| words alone (BM25 of SQLite FTS5) | – | – | – | {scifact.ndcg_at_10(words):.4f} | – | – | – |", flush=True
    )
    for encoder, sample, repeats in encoders:
        near = scifact.by_vectors(encoder)
        both = [[key for key, _ in fuse_ranks(pair, 10)] for pair in zip(near, words, strict=True)]
        quality = f"{sts(encoder, data):.4f} | {sts(encoder, data, 'dev'):.4f}"
        search = f"{scifact.ndcg_at_10(near):.4f} | {scifact.ndcg_at_10(both):.4f}"
        rate, tokens = speed(encoder, sample, repeats)
        print(f"| {encoder.name} | {encoder.dim} | {quality} | {search} | {rate:,.0f} | {tokens:.1f} |", flush=True)
    print(f"load: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
