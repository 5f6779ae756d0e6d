"""Quality and speed of encoders: STS-B Spearman, SciFact nDCG@10, texts per CPU-second.

    SEMBLANCE_DATA=… python bench/encoders/quality.py [--full] [--static FILE ...]

Prints one Markdown table. ``--full`` adds the ONNX model of the data folder (minutes); vectors are never stored.
"""

from __future__ import annotations

import argparse
import csv
import os
import time
from pathlib import Path

import numpy as np
from texts import glosses, records

import semblance as sb


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


def ndcg_at_10(encoder: sb.Encoder, data: Path) -> float:
    """Mean nDCG@10 over the SciFact test queries; document text is title and abstract."""
    documents = list(records(data / "scifact/corpus.jsonl.gz"))
    queries = list(records(data / "scifact/queries.jsonl"))
    judged = relevance(data)
    stored = encoder.encode([f"{row['title']} {row['text']}".strip() for row in documents])
    scores = encoder.encode([row["text"] for row in queries]) @ stored.T
    discounts = 1 / np.log2(np.arange(2, 12))
    found = []
    for row, query in enumerate(queries):
        wanted = judged.get(query["_id"])
        if wanted:
            best = np.argsort(-scores[row], kind="stable")[:10]
            gains = np.array([wanted.get(documents[place]["_id"], 0) for place in best])
            ideal = np.sort(list(wanted.values()))[::-1][:10]
            found.append((gains * discounts).sum() / (ideal * discounts[: len(ideal)]).sum())
    assert len(found) == 300, len(found)
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
    print("| encoder | dim | STS-B test | STS-B dev | SciFact nDCG@10 | texts/CPU-s | tokens/text |")
    print("|---|---|---|---|---|---|---|")
    for encoder, sample, repeats in encoders:
        quality = f"{sts(encoder, data):.4f} | {sts(encoder, data, 'dev'):.4f} | {ndcg_at_10(encoder, data):.4f}"
        rate, tokens = speed(encoder, sample, repeats)
        print(f"| {encoder.name} | {encoder.dim} | {quality} | {rate:,.0f} | {tokens:.1f} |", flush=True)


if __name__ == "__main__":
    main()
