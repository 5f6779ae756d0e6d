"""Real models on real text: equality with stored vectors, and the quality that the embedded encoder promises."""

from __future__ import annotations

import csv
import gzip
import json
import os
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import semblance as sb

pytestmark = [pytest.mark.data, pytest.mark.once]


@pytest.fixture(scope="module")
def data() -> Path:
    return Path(os.environ["SEMBLANCE_DATA"])


def rows(path: Path, count: int | None = None) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in islice(lines, count)]


def test_a_published_model_gives_its_stored_vectors(data: Path) -> None:
    texts = [row["text"] for row in rows(data / "glosses/glosses.jsonl.gz")]
    chosen = [*range(0, len(texts), 600), int(np.argmax([len(text) for text in texts]))]
    stored = np.load(data / "glosses/base_f16.npy", mmap_mode="r")[chosen].astype(np.float32)
    vectors = sb.Encoder(data / "minilm", device="cpu").encode([texts[row] for row in chosen])
    assert np.abs(vectors - stored).max() < 2**-12  # half a unit of f16 below 0.5, and the model's own rounding
    assert np.abs(np.einsum("nd,nd->n", vectors, stored) - 1).max() < 5e-4


def test_a_vector_of_the_real_model_is_the_same_in_every_batch(data: Path) -> None:
    texts = [row["text"] for row in rows(data / "glosses/glosses.jsonl.gz", 40)]
    encoder = sb.Encoder(data / "minilm", device="cpu")
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    assert np.array_equal(encoder.encode(texts), alone)
    assert np.array_equal(encoder.encode(texts, batch_tokens=100), alone)


def test_the_embedded_encoder_agrees_with_people(data: Path) -> None:
    with (data / "local/stsb/stsb-en-test.csv").open(encoding="utf-8", newline="") as file:
        pairs = list(csv.reader(file))
    encoder = sb.Encoder()
    left, right = (encoder.encode([pair[side] for pair in pairs]) for side in (0, 1))
    scores = np.einsum("nd,nd->n", left, right)
    assert _spearman(scores, np.array([float(pair[2]) for pair in pairs])) >= 0.70


def test_the_embedded_encoder_finds_evidence(data: Path) -> None:
    documents = rows(data / "scifact/corpus.jsonl.gz")
    with (data / "scifact/queries.jsonl").open(encoding="utf-8") as lines:
        queries = [json.loads(line) for line in lines]
    with (data / "scifact/qrels.tsv").open(encoding="utf-8") as file:
        relevant = {(row["query-id"], row["corpus-id"]) for row in csv.DictReader(file, delimiter="\t")}
    encoder = sb.Encoder()
    stored = encoder.encode([f"{row['title']} {row['text']}" for row in documents])
    best = np.argsort(-(encoder.encode([row["text"] for row in queries]) @ stored.T), kind="stable")[:, :10]
    gains = []
    for query, found in zip(queries, best, strict=True):
        hits = [(query["_id"], documents[row]["_id"]) in relevant for row in found]
        count = sum(query["_id"] == wanted for wanted, _ in relevant)
        ideal = (1 / np.log2(np.arange(2, 2 + min(count, 10)))).sum()
        gains.append((np.array(hits) / np.log2(np.arange(2, 12))).sum() / ideal)
    assert np.mean(gains) >= 0.45


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
    def ranks(values: np.ndarray) -> np.ndarray:
        _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
        return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[inverse])

    return float(np.corrcoef(ranks(a), ranks(b))[0, 1])
