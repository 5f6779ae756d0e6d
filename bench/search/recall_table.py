"""Recall@10 against exact search, and queries per second, by metric, codes and ef on the glosses (115,659 x 384).

    SEMBLANCE_DATA=... python bench/search/recall_table.py [--rows N] [--threads T] [--codes all]

Cosine searches the glosses' unit vectors. For l2 and ip, whose answers would be the same on unit vectors, every row is
given a length from a log-normal distribution (sigma 0.1). Prints a Markdown table; asserts the floors of the contract.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np

import semblance as sb

EFS = (32, 64, 100, 200, 300)
PAIRS = [("auto", "auto"), ("f32", None), ("f16", None), ("bf16", None), ("i8", None), ("i8", "f32")]


def load(rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Base (n, 384), held-out glosses and out-of-distribution single words (2000, 384), all float32."""
    data = Path(os.environ["SEMBLANCE_DATA"]) / "glosses"
    base = np.load(data / "base_f16.npy")[:rows].astype(np.float32)
    queries = np.load(data / "queries.npz")
    return base, queries["query"], queries["word_query"]


def recall(found: np.ndarray, truth: np.ndarray) -> float:
    """Mean share of the true ten that were found; both (q, 10)."""
    return float(np.mean([len(np.intersect1d(a, b)) for a, b in zip(found, truth, strict=True)]) / truth.shape[1])


def measure(index: sb.Index, queries: np.ndarray, truth: np.ndarray, ef: int, threads: int) -> tuple[float, float]:
    """Recall, and queries per second (median of 3)."""
    found, seconds = None, []
    for _ in range(3):
        start = time.perf_counter()
        found = index.search(queries, 10, ef=ef, threads=threads).ids
        seconds.append(time.perf_counter() - start)
    return recall(found, truth), len(queries) / float(np.median(seconds))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=115_659)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--codes", choices=["auto", "all"], default="auto")
    given = parser.parse_args()
    base, queries, words = load(given.rows)
    lengths = np.random.default_rng(0).lognormal(0.0, 0.1, size=(len(base), 1)).astype(np.float32)
    print(f"| metric | codes + rerank | build s | MB | {' | '.join(f'ef {ef}' for ef in EFS)} | words, ef 300 |")
    print("|---|---|---|---|" + "---|" * (len(EFS) + 1))
    for metric in ("cosine", "l2", "ip"):
        rows = base if metric == "cosine" else base * lengths
        truth, words_truth = sb.exact(rows, queries, 10, metric).ids, sb.exact(rows, words, 10, metric).ids
        for codes, rerank in PAIRS if given.codes == "all" else PAIRS[:1]:
            start = time.perf_counter()
            index = sb.Index.build(rows, metric=metric, codes=codes, rerank=rerank)
            seconds = time.perf_counter() - start
            megabytes = sum(index.stats()["bytes"].values()) / 1e6
            found = {ef: measure(index, queries, truth, ef, given.threads) for ef in EFS}
            hard = measure(index, words, words_truth, 300, given.threads)
            cells = [f"{r:.4f} · {qps:,.0f}/s" for r, qps in (*found.values(), hard)]
            name = f"{index.codes} + {index.rerank}" if index.rerank else index.codes
            print(f"| {metric} | {name} | {seconds:.1f} | {megabytes:.0f} | {' | '.join(cells)} |", flush=True)
            if codes != "i8" or rerank:
                assert found[100][0] >= 0.95, found
                assert found[300][0] >= (0.99 if codes != "bf16" else 0.97), found


if __name__ == "__main__":
    main()
